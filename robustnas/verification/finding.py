"""What a check finds: figures with what is allowed, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["passed", "failed", "not applicable"]


@dataclass(frozen=True)
class Figure:
    """A number that a check found.

    Args:
        value: The number; larger is worse.
        allowed: The largest that passes.
    """

    value: float
    allowed: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether it is within what is allowed; what is not a number is not."""
        return self.value <= self.allowed


@dataclass(frozen=True)
class Finding:
    """What came of a check.

    Args:
        compared: What was compared with what, and at which size.
        figures: What was measured, by what it counts. Without any the check did not apply.
        says: More about it: what differs first, why a check does not apply, or what the user should know.
    """

    compared: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    says: str = ""

    @property
    def status(self) -> Status:
        """Whether every figure is within what is allowed."""
        if not self.figures:
            return "not applicable"
        return "passed" if all(figure.passed for figure in self.figures.values()) else "failed"

    @property
    def fault(self) -> str:
        """The figures that are too large, in a sentence."""
        wrong = {name: figure for name, figure in self.figures.items() if not figure.passed}
        parts = [
            f"{name} to be at most {figure.allowed:g}, but got {figure.value:.3g}" for name, figure in wrong.items()
        ]
        return f"Expected {'; and '.join(parts)}{f' ({self.says})' if self.says else ''}." if parts else ""


@dataclass(frozen=True)
class Outcome:
    """A check that was run.

    Args:
        name: Its name.
        finding: What came of it; ``None`` if it raised.
        seconds: How long it took.
        error: The sentence of what it raised, empty if it did not.
    """

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
        """What the user should read: the fault, or what else there is to know."""
        if self.finding is None:
            return self.error
        return self.finding.fault or self.finding.says

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain values."""
        figures = self.finding.figures if self.finding is not None else {}
        return {
            "name": self.name,
            "status": self.status,
            "compared": self.finding.compared if self.finding is not None else "",
            "figures": {
                name: {"value": one.value, "allowed": one.allowed, "passed": one.passed}
                for name, one in figures.items()
            },
            "says": self.says,
            "seconds": self.seconds,
        }
