"""Tabular benchmarks: accuracies of architectures that were trained by themselves, to be looked up."""

from robustnas.tabular.reading import parse, read_columns
from robustnas.tabular.table import Entry, Rank, Table

__all__ = ["Entry", "Rank", "Table", "parse", "read_columns"]
