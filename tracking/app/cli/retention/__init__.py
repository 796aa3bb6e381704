"""Commands about what leaves the database: old orders into Parquet files, and those files held against it."""
