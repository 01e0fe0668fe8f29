"""One HTML file about one search or several: no server, no network, no script."""

from robustnas.reports.page import report
from robustnas.reports.search_data import SearchData

__all__ = ["SearchData", "report"]
