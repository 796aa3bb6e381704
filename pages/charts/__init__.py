"""The charts: DataFrames in, plotly figures out. They know no Streamlit and no store."""
