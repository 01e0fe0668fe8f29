"""How often each alarm was right on recorded runs; written by ``benchmarks/calibrate_verdict.py``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """Alarms on 33 RobustDARTS searches on S1, CIFAR-10; thresholds marked as our own were chosen on these runs."""

    hits: int  # runs that ended dominated by skip connections, with the alarm
    dominated: int  # runs that ended so
    false: int  # other runs with the alarm, at whatever epoch
    others: int
    lead: float | None  # median of the epochs from the alarm to domination over the hits; negative: after it

    def __str__(self) -> str:
        lead = "" if self.lead is None else f", lead {self.lead:+g} epochs"
        return f"recorded runs: hit {self.hits}/{self.dominated}, false {self.false}/{self.others}{lead}"


RATES: dict[str, Rate] = {
    "did_not_learn": Rate(0, 9, 3, 24, None),
    "curvature_rise": Rate(9, 9, 14, 24, -5),
    "skip_rise": Rate(9, 9, 8, 24, -2),
    "skip_domination": Rate(9, 9, 0, 24, -2),
    "many_skips": Rate(9, 9, 4, 24, 1),
    "no_convolution": Rate(4, 9, 0, 24, -15),
    "mostly_parameter_free": Rate(9, 9, 1, 24, -2),
    "overfitting": Rate(9, 9, 11, 24, -8),
    "at risk": Rate(9, 9, 9, 24, 1),
    "collapsed": Rate(9, 9, 0, 24, -2),
}
