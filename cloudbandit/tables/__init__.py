"""Recorded tables: a CSV or Parquet file and a ``table.toml`` that says what it means."""

from cloudbandit.tables.registry import dataset_path, load_table, table_names
from cloudbandit.tables.table import Cell, Table, Workload

__all__ = ["Cell", "Table", "Workload", "dataset_path", "load_table", "table_names"]
