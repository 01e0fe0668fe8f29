"""When a search stops, and to which epoch it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple


class Stop(NamedTuple):
    """A decision to stop.

    Attributes:
        detected: Epoch at whose end the decision fell.
        returned: Epoch whose architecture is the result.
    """

    detected: int
    returned: int


class Stopping(ABC):
    """An answer to when to stop. It watches one number, measured at the end of epochs.

    Attributes:
        watches: ``curvature`` is the dominant eigenvalue of the Hessian of the architecture loss in α, ``skips`` the
            number of skip connections in the normal cell of the genotype.
        every: Epochs between two measurements.
    """

    watches: ClassVar[Literal["nothing", "curvature", "skips"]]
    every: int

    @abstractmethod
    def decide(self, epochs: Sequence[int], values: Sequence[float]) -> Stop | None:
        """Decide by all that was measured.

        Args:
            epochs: Epochs at whose end there was a measurement, in order.
            values: What was measured.

        Returns:
            The decision, or ``None`` to go on.

        Raises:
            ValueError: If there are not as many values as epochs.
        """


@dataclass(frozen=True)
class Never(Stopping):
    """The search runs to its last epoch, as in DARTS."""

    every: int = 1
    watches = "nothing"

    def decide(self, epochs: Sequence[int], values: Sequence[float]) -> None:
        return None


@dataclass(frozen=True)
class SkipDominance(Stopping):
    """Stop when the normal cell has too many skip connections, and return to the epoch before (arXiv:1909.06035).

    Args:
        most: Skip connections that a normal cell may have.
        start: First epoch that can be judged.
        every: Epochs between two measurements.

    Raises:
        ValueError: If an argument is out of range.
    """

    most: int = 2
    start: int = 0
    every: int = 1
    watches = "skips"

    def __post_init__(self) -> None:
        if self.most < 0 or self.start < 0 or self.every < 1:
            raise ValueError(
                "Expected `most` and `start` to be zero or more and `every` at least 1, "
                f"but got {self.most}, {self.start} and {self.every}."
            )

    def decide(self, epochs: Sequence[int], values: Sequence[float]) -> Stop | None:
        _check_lengths(epochs, values)
        for i in range(1, len(values)):
            if epochs[i] >= self.start and values[i] > self.most:
                return Stop(epochs[i], epochs[i - 1])
        return None


def _check_lengths(epochs: Sequence[int], values: Sequence[float]) -> None:
    if len(epochs) != len(values):
        raise ValueError(f"Expected one value for each of {len(epochs)} epochs, but got {len(values)}.")
