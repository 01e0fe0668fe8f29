"""What may foretell a bad end of a search: which series is read, and which of its values warn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

STATES = {"healthy": 0.0, "at risk": 1.0, "collapsed": 2.0}
STATE = "verdict/state"


@dataclass(frozen=True)
class Indicator:
    """Something that may foretell a bad end.

    Args:
        series: Name of the series.
        says: What it is, in a few words.
        warns: Which values warn.
        reading: Whether the last value counts, or the worst.
    """

    series: str
    says: str
    warns: Literal["high", "low"] = "high"
    reading: Literal["last", "peak"] = "last"


INDICATORS = (
    Indicator(STATE, "verdict: healthy, at risk, collapsed"),
    Indicator("curvature/max", "largest eigenvalue in α, at the end"),
    Indicator("curvature/max", "largest eigenvalue in α, at its peak", reading="peak"),
    Indicator("curvature/rise", "growth of the averaged curvature", reading="peak"),
    Indicator("gap/accuracy", "accuracy lost by rounding"),
    Indicator("gap/lost", "share of the accuracy above chance lost by rounding"),
    Indicator("gap/loss", "loss added by rounding"),
    Indicator("gap/discrete_accuracy", "accuracy of the rounded supernet", "low"),
    Indicator("alpha/entropy", "entropy of α"),
    Indicator("alpha/saturated", "share of saturated edges"),
    Indicator("genotype/skip_share", "skip connections in the genotype"),
    Indicator("genotype/skip_rise", "skip connections gained in 10 epochs", reading="peak"),
    Indicator("genotype/avoidable", "edges without parameters"),
    Indicator("shares/skip_excess", "mass of skips over a uniform start"),
    Indicator("shares/parameter_free", "mass of operations without parameters"),
    Indicator("generalisation/loss", "generalisation gap, loss"),
    Indicator("generalisation/smooth", "generalisation gap, accuracy", reading="peak"),
    Indicator("gradient/alignment", "alignment of layers' gradients of α", "low"),
    Indicator("gradient/match", "match of training and validation gradient", "low"),
    Indicator("ranking/tau", "rank correlation of supernet and table", "low"),
    Indicator("genotype/churn", "choices that change per epoch"),
    Indicator("val/loss", "loss of the supernet on validation"),
    Indicator("val/top1", "accuracy of the supernet on validation", "low"),
)
