"""The result of a check: measured figures with the largest allowed values, and the status that follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["passed", "failed", "not applicable"]


@dataclass(frozen=True)
class Figure:
    """A measured number and the largest value that passes."""

    value: float
    allowed: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the value is within the limit; NaN is not."""
        return self.value <= self.allowed


@dataclass(frozen=True)
class Finding:
    """What a check compared and measured; without figures the check did not apply. ``says`` explains more."""

    compared: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    says: str = ""

    @property
    def status(self) -> Status:
        """The status that follows from the figures."""
        if not self.figures:
            return "not applicable"
        return "passed" if all(figure.passed for figure in self.figures.values()) else "failed"

    @property
    def fault(self) -> str:
        """The figures that are too large, in a sentence."""
        parts = [
            f"{name} to be at most {figure.allowed:g}, but got {figure.value:.3g}"
            for name, figure in self.figures.items()
            if not figure.passed
        ]
        return f"Expected {'; and '.join(parts)}{f' ({self.says})' if self.says else ''}." if parts else ""


@dataclass(frozen=True)
class Outcome:
    """A check that was run: its finding, or the sentence of what it raised."""

    name: str
    finding: Finding | None
    seconds: float
    error: str = ""

    @property
    def status(self) -> Status:
        """Whether the check passed."""
        return "failed" if self.finding is None else self.finding.status

    @property
    def says(self) -> str:
        """The fault, or what else the user should know."""
        if self.finding is None:
            return self.error
        return self.finding.fault or self.finding.says

    def to_json(self) -> dict[str, Any]:
        """The outcome in JSON's types."""
        figures = self.finding.figures if self.finding is not None else {}
        return {
            "name": self.name,
            "status": self.status,
            "compared": self.finding.compared if self.finding is not None else "",
            "figures": {name: {**asdict(one), "passed": one.passed} for name, one in figures.items()},
            "says": self.says,
            "seconds": self.seconds,
        }
