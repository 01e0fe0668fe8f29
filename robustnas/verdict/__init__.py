"""Is a search healthy, at risk or collapsed: since when, by what evidence, and what to do about it."""

from robustnas.verdict.history import History
from robustnas.verdict.judging import judge, judge_run
from robustnas.verdict.thresholds import THRESHOLDS, Remedy, Threshold
from robustnas.verdict.verdict import Evidence, Take, Verdict

__all__ = ["THRESHOLDS", "Evidence", "History", "Remedy", "Take", "Threshold", "Verdict", "judge", "judge_run"]
