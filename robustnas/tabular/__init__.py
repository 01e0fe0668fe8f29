"""Tabular benchmarks: look up the accuracies of architectures that were each trained from scratch."""

from robustnas.tabular.reading import parse, read_columns
from robustnas.tabular.table import Entry, Rank, Table

__all__ = ["Entry", "Rank", "Table", "parse", "read_columns"]
