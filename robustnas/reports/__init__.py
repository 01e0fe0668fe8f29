"""HTML reports of one search, of several, or of a study: one file, no server, no network, no script."""

from robustnas.reports.page import headline_charts, report
from robustnas.reports.search_data import SearchData

__all__ = ["SearchData", "headline_charts", "report"]
