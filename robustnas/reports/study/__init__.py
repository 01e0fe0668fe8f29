"""The report of a study: tables, statistics, charts and a checklist, from the files of its trials."""

from robustnas.reports.study.writing import write_pooled, write_report

__all__ = ["write_pooled", "write_report"]
