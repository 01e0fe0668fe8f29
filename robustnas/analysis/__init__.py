"""Is a search healthy, at risk or collapsed: since when, by what evidence, and what to do about it."""

from robustnas.analysis.history import History
from robustnas.analysis.judging import judge, judge_run
from robustnas.analysis.registry import Metric, register
from robustnas.analysis.thresholds import Remedy, Threshold
from robustnas.analysis.verdict import Evidence, Take, Verdict

__all__ = ["Evidence", "History", "Metric", "Remedy", "Take", "Threshold", "Verdict", "judge", "judge_run", "register"]
