"""What a study says: tables, statistics, pictures and a checklist, from the files that its cells left."""

from robustnas.reports.study.writing import write_pooled, write_report

__all__ = ["write_pooled", "write_report"]
