"""Commands about archives: write old orders to Parquet files and remove them, verify such files."""
