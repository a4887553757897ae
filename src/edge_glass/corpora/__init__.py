"""Data sets that are built on any machine, or downloaded: each ends as parquet files and a card."""
