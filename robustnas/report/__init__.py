"""One HTML file about one search or several: no server, no network, no script."""

from robustnas.report.material import Material
from robustnas.report.page import report

__all__ = ["Material", "report"]
