"""How often each alarm was right on recorded runs; written by ``benchmarks/calibrate_verdict.py``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """Alarms on runs whose outcome is known: 33 RobustDARTS searches on S1, CIFAR-10.

    Args:
        hits: Runs that ended dominated by skip connections, with the alarm.
        dominated: Runs that ended so.
        false: Other runs with the alarm.
        others: Other runs.
        lead: Median of the epochs from the alarm to domination over the hits; negative where it comes after.
    """

    hits: int
    dominated: int
    false: int
    others: int
    lead: float | None

    def __str__(self) -> str:
        lead = "" if self.lead is None else f", {self.lead:+g} epochs ahead"
        return f"{self.hits} of {self.dominated} hit, {self.false} of {self.others} false{lead}"


RATES: dict[str, Rate] = {}
