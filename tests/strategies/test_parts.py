"""Options of parts are checked when they are read, also those of parts that users write in their own files."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import jsonargparse
import pytest
from tables import check_each

from robustnas import networks, strategies
from robustnas.strategies import CurvatureRise, RaiseDecay, Relaxation, Stop, Stopping

PARTS = [
    part
    for room in (strategies, networks)
    for part in vars(room).values()
    if inspect.isclass(part) and dataclasses.is_dataclass(part)
]


@dataclass(frozen=True)
class OwnStopping(Stopping):
    """A rule of one's own. Names that its base class needs are not imported here."""

    patience: int = 3
    interval: int = 2

    def decide(self, epochs: Sequence[int], values: Sequence[float]) -> Stop | None:
        return None


@dataclass(frozen=True)
class OwnRelaxation(Relaxation):
    """A relaxation of one's own."""

    temperature: float = 1.0


def test_the_types_of_all_options_are_known() -> None:
    """jsonargparse takes whatever it is given where it cannot find out the type."""

    def check(part: type) -> None:
        parser = jsonargparse.ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(part, "part")
        assert "Unvalidated" not in parser.format_help()

    check_each([*PARTS, OwnStopping, OwnRelaxation], check)


RAISE = "robustnas.strategies.RaiseDecay"
NESTED = {"class_path": RAISE, "init_args": {"rule": {"lag": 5, "ratio": 1.5}, "max_weight_decay": 0.3}}


@pytest.mark.parametrize(
    "words",
    [
        ["--part", RAISE, "--part.rule.lag=5", "--part.rule.ratio=1.5", "--part.max_weight_decay=0.3"],
        [f"--part={NESTED}"],
    ],
    ids=["words", "nested"],
)
def test_the_rule_inside_a_rule_can_be_set(words: list[str]) -> None:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--part", type=Stopping)
    found = parser.instantiate_classes(parser.parse_args(words)).part
    assert found == RaiseDecay(CurvatureRise(lag=5, ratio=1.5), max_weight_decay=0.3)
