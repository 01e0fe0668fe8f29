"""The table of thresholds is the one that was calibrated, and each row is applied as it says."""

from __future__ import annotations

import dataclasses
import inspect

from tables import check_each
from verdicts import EPOCHS, search

import robustnas.networks
import robustnas.strategies
from robustnas.analysis import Threshold
from robustnas.analysis.calibration import RATES
from robustnas.analysis.judging import sign
from robustnas.analysis.registry import thresholds
from robustnas.analysis.thresholds import REMEDIES
from robustnas.analysis.verdict import Evidence
from robustnas.cli.configuration import instance_of
from robustnas.strategies import Selection
from robustnas.training import SearchModule

# Threshold, comparison, weight, measurements it must hold, share of the search from which and until which it is judged,
# latched. A change here changes verdicts: measure the rates again, benchmarks/calibrate_verdict.py.
TABLE = {
    "did_not_learn": (0.0, "<=", "decides", 3, 0.2, 1, False),
    "skip_domination": (0.5, ">", "decides", 3, 0.2, 1, False),
    "disconnected": (0.0, "<=", "decides", 3, 0, 1, False),
    "no_convolution": (0.0, "<=", "decides", 3, 0, 1, False),
    "mostly_parameter_free": (0.5, ">", "notes", 3, 0.2, 1, False),
    "discrete_at_chance": (1.2, "<=", "decides", 2, 0.8, 1, False),
    "curvature_rise": (1.3, ">", "hints", 1, 0, 1, True),
    "skip_rise": (0.15, ">", "hints", 2, 0, 1, False),
    "many_skips": (0.25, ">", "hints", 3, 0.2, 1, False),
    "overfitting": (0.05, ">", "hints", 3, 0.2, 1, False),
    "skip_mass": (0.25, ">", "hints", 3, 0, 1, False),
    "gap": (0.5, ">", "hints", 2, 0.8, 1, False),
    "gap_rise": (0.1, ">", "hints", 2, 0.5, 1, False),
    "undecided": (0.99, ">", "decides", 3, 0.2, 1, False),
    "within_noise": (1.0, "<", "decides", 3, 0.2, 1, False),
    "saturated": (0.5, ">", "hints", 2, 0, 0.5, True),
    "alignment": (0, "<", "hints", 3, 0, 1, False),
    "match": (0, "<=", "hints", 3, 0, 1, False),
    "ranking": (0.2, "<", "hints", 1, 0.8, 1, False),
    "never_changed": (10, ">=", "hints", 1, 0, 1, False),
    "unsettled": (0.2, ">", "hints", 1, 0.8, 1, False),
    "frozen": (1e-6, "<", "hints", 5, 0.2, 1, False),
    "none_mass": (0.5, ">", "notes", 1, 0, 1, False),
}

BEYOND = {">": 1e-9, ">=": 0.0, "<": -1e-9, "<=": 0.0}


def beyond(row: Threshold) -> float:
    """The value nearest to the threshold that counts."""
    return row.value + BEYOND[row.comparison]


def within(row: Threshold) -> float:
    """The value nearest to the threshold that does not count."""
    return row.value + {">": 0.0, ">=": -1e-9, "<": 0.0, "<=": 1e-9}[row.comparison]


def seen_at(row: Threshold, epochs: list[int], until: int = EPOCHS, finished: bool = False) -> tuple[int, int] | None:
    """Epochs of the sign and of its start, where only the given epochs are beyond the threshold."""
    values = {epoch: beyond(row) if epoch in epochs else within(row) for epoch in range(until)}
    evidence = sign(row, row.value, values, search(running=not finished))
    return None if evidence is None else (evidence.epoch, evidence.since)


def test_the_table_is_the_calibrated_one() -> None:
    found = {
        row.name: (row.value, row.comparison, row.weight, row.hold, row.after, row.before, row.latched)
        for row in thresholds()
    }
    assert found == TABLE


def test_a_sign_must_hold() -> None:
    def check(row: Threshold) -> None:
        last = int(EPOCHS * row.before) - 1
        held = list(range(last - row.hold + 1, last + 1))
        assert seen_at(row, held) == (last, held[0])
        assert seen_at(row, held[1:]) is None

    check_each(thresholds(), check)


def test_a_sign_that_ended_counts_only_if_it_is_latched() -> None:
    def check(row: Threshold) -> None:
        start = int(EPOCHS * max(row.after, 0.1))
        held = list(range(start, start + row.hold))
        assert seen_at(row, held, until=held[-1] + 1) == (held[-1], start)
        assert seen_at(row, held) == ((held[-1], start) if row.latched else None)

    check_each(thresholds(), check)


def test_a_sign_is_judged_in_its_part_of_the_search() -> None:
    def check(row: Threshold) -> None:
        first = max(int(EPOCHS * row.after) - 1, row.hold - 1)  # the first epoch that is judged
        assert seen_at(row, list(range(EPOCHS)), until=first + 1) == (first, 0)
        assert seen_at(row, list(range(EPOCHS)), until=first) is None
        if row.before < 1:
            assert seen_at(row, list(range(int(EPOCHS * row.before), EPOCHS))) is None

    check_each(thresholds(), check)


def test_the_last_measurement_of_a_finished_search_decides() -> None:
    def check(row: Threshold) -> None:
        last = EPOCHS - 1
        enough = row.before == 1 and (row.hold == 1 or row.weight == "decides")
        assert (seen_at(row, [last], finished=True) is not None) == enough

    check_each(thresholds(), check)


def test_a_figure_beyond_its_threshold_reads_so() -> None:
    rows = [
        ("%", 0.5021, 0.5, "50.2 %", "over 50.0 %"),
        ("%", 0.579, 0.576, "57.9 %", "over 57.6 %"),
        ("%", 0.9, 0.5, "90 %", "over 50 %"),
        ("", 1.3004, 1.3, "1.3004", "over 1.3"),
        ("", 2.0, 1.3, "2", "over 1.3"),
        ("", 1.3, 1.3, "1.3", "over 1.3"),
        ("edges", 0.5003, 0.5, "4.002 of 8", "over 4"),
    ]

    def check(row: tuple[str, float, float, str, str]) -> None:
        unit, value, bound, shown, limit = row
        threshold = dataclasses.replace(next(one for one in thresholds() if one.comparison == ">"), unit=unit)
        evidence = Evidence(threshold, value, bound, 0, 0, 8, "hints")
        assert (evidence.shown, evidence.limit) == (shown, limit)

    check_each(rows, check)


def test_remedies_are_parts_and_arguments_that_exist() -> None:
    arguments = set(inspect.signature(SearchModule).parameters)
    for remedy in REMEDIES.values():
        option, *part = remedy.setting.split()
        if len(part) > 1:  # a selection without training, from this search or the next
            words = remedy.setting.removeprefix("robustnas select RUN ").replace("--model.", "--").split()
            rule = instance_of(Selection, "selection", words)
            assert rule.evaluates
            assert type(rule).__name__ == remedy.part.partition(",")[0]
            continue
        assert option == "--trainer.max_epochs" or option.removeprefix("--model.") in arguments
        if part and not part[0][0].isdigit():
            assert part == [remedy.part]
            found = hasattr(robustnas.strategies, part[0]) or hasattr(robustnas.networks, part[0])
            assert found or part[0] == "LargestDrop"  # DARTS-PT
    assert {name for row in thresholds() for name in row.helps} <= set(REMEDIES)


def test_the_table_of_thresholds_is_sound() -> None:
    names = [row.name for row in thresholds()]
    assert len(names) == len(set(names))
    assert set(RATES) <= {*names, "at risk", "collapsed"}
    assert all(row.source and row.words and row.helps for row in thresholds())
