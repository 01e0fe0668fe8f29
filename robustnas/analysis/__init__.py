"""Is a search healthy, at risk, undecided or collapsed, did it learn: since when, by what evidence, what to do."""

from robustnas.analysis.history import History
from robustnas.analysis.judging import judge, judge_run
from robustnas.analysis.registry import Metric, register
from robustnas.analysis.thresholds import Remedy, Threshold
from robustnas.analysis.verdict import Evidence, Take, Verdict

__all__ = ["Evidence", "History", "Metric", "Remedy", "Take", "Threshold", "Verdict", "judge", "judge_run", "register"]
