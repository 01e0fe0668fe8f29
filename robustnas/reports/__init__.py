"""One HTML file about one search or several: no server, no network, no script."""

from robustnas.reports.material import Material
from robustnas.reports.page import report

__all__ = ["Material", "report"]
