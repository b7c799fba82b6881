"""Recorded tables: a CSV or Parquet file and a ``table.toml`` that says what it means."""

from cloudbandit.tables.cell import Cell
from cloudbandit.tables.registry import dataset_path, load_table, table_names
from cloudbandit.tables.table import RecordedWorkload, Table

__all__ = ["Cell", "Table", "RecordedWorkload", "dataset_path", "load_table", "table_names"]
