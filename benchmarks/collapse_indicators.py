"""What predicts a collapse: every indicator against the truth, over the searches of `collapse_study.py`.

    python benchmarks/collapse_indicators.py runs/study runs/shallower [--within-methods]
    python benchmarks/collapse_indicators.py --recorded robustdarts_runs_s1_cifar10.json.gz

A folder holds searches of one setting, as METHOD/seed-N; searches are compared within a folder only, or within a
method of a folder, so that an indicator gets no credit for telling methods apart. By the truth a search collapsed as in
`collapse_study.py`; a recorded one, as in `calibrate_verdict.py`, if skip connections take over.

- AUROC after a quarter, a half and three quarters of the search: of the value then, over the searches that had not lost
  their cell yet. At the end: of the last value, over all searches, when it is too late. 0.5 is chance; the interval is
  Newcombe's, 95 %.
- A rule that raises an alarm when an indicator first crosses a threshold; empty where none is better than an alarm in
  every search. The threshold separates the searches with an even seed best (Youden's J), what it does is reported on
  those with an odd seed. A hit is an alarm no later than the loss, the lead is the number of epochs from the alarm to
  the loss, and a false alarm is one in a search that kept its cell, by the median epoch of the even seeds' losses.
- The verdict is that after each epoch; its states count from when the first of them was given, if one is at the end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from calibrate_verdict import recorded
from collapse_study import Search

from robustnas.analysis import History, judge, metrics
from robustnas.analysis.measures import measures
from robustnas.analysis.registry import Metric, indicators
from robustnas.reports.study.calibration import Reading, first_alarm, pooled_area, turned, youden
from robustnas.statistics import Interval, Lead, lead_time

SAME_SEARCH = ("LargestDrop", "CurvatureRise", "perturbed_sampled")  # those of others, to another end: counted once
MOMENTS = {"a quarter": 0.25, "a half": 0.5, "three quarters": 0.75}
ALSO = (metrics.SKIP_CONNECT_SHARE,)  # the registry names no bad direction for it; here high values warn
VERDICTS = {"collapsed": ("collapsed",), "at risk or worse": ("at risk", "undecided", "collapsed", "did not learn")}


@dataclass(frozen=True)
class Case:
    """A finished search: what was measured, and when it lost its cell."""

    group: str  #: searches are compared within it
    half: int  #: 0: thresholds are chosen on it; 1: they are tried on it
    series: Mapping[str, Mapping[int, float]]
    planned: int  #: epochs
    lost: int | None  #: epoch at which the cell was lost for good
    states: Mapping[str, int]  #: each state of the verdict, the last among them, to the epoch it was first given after
    state: str  #: the last


@dataclass(frozen=True)
class Row:
    """What an indicator says of collapse."""

    title: str
    areas: Mapping[str, tuple[float, Interval, int, int] | None]  #: by moment: AUROC, interval, bad and good searches
    threshold: float | None
    lead: Lead | None  #: on the half that did not choose the threshold


def cases_of(root: Path, within_methods: bool = False) -> list[Case]:
    """The finished searches of a folder."""
    found = []
    for path in sorted(root.glob("*/seed-*/genotype.json")):
        if path.parent.parent.name in SAME_SEARCH:
            continue
        search, history = Search.read(path.parent), History.of_run(path.parent)
        group = str(path.parent.parent if within_methods else root)
        found.append(_case(group, int(path.parent.name.partition("-")[2]), history, search.lost))
    if not found:
        raise ValueError(f"Expected {root} to hold finished searches as METHOD/seed-N, but it does not.")
    return found


def recorded_cases(path: Path) -> list[Case]:
    """The recorded searches."""
    return [_case(path.name, k, run.history, run.taken_over) for k, run in enumerate(recorded(path))]


def _case(group: str, seed: int, history: History, lost: int | None) -> Case:
    states: dict[str, int] = {}
    for epoch in history.epochs[:-1]:
        states.setdefault(judge(history.until(epoch)).state, epoch)
    last = judge(history).state
    states.setdefault(last, history.epochs[-1])
    return Case(group, seed % 2, measures(history), history.planned or len(history.epochs), lost, states, last)


def rows_of(cases: Sequence[Case]) -> list[Row]:
    """A row for each indicator that was measured, the best after half of the search first."""
    read = [*indicators(), *((metric, "last") for metric in ALSO)]
    rows = [_row(metric, how, cases) for metric, how in read if any(case.series.get(metric.name) for case in cases)]
    return sorted(rows, key=lambda row: -(row.areas["a half"] or (0.0,))[0])


def _row(metric: Metric, reading: Reading, cases: Sequence[Case]) -> Row:
    def area(chosen: Iterable[Case], until: Callable[[Case], float]) -> tuple[float, Interval, int, int] | None:
        groups: dict[str, tuple[list[float], list[float]]] = {}
        for case in chosen:
            if (value := turned(metric, reading, case.series, until(case))) is not None:
                groups.setdefault(case.group, ([], []))[case.lost is None].append(value)
        sizes = [sum(len(group[k]) for group in groups.values()) for k in (0, 1)]
        found = pooled_area(groups.values())
        return None if found is None or min(sizes) < 2 else (*found, *sizes)

    def before_loss(part: float) -> tuple[float, Interval, int, int] | None:
        left = (case for case in cases if case.lost is None or case.lost > part * case.planned)
        return area(left, lambda case: part * case.planned)

    areas = {moment: before_loss(part) for moment, part in MOMENTS.items()}
    areas["the end"] = area(cases, lambda _: float("inf"))
    title = metric.title if len(metric.reading) == 1 else f"{metric.title}, {reading}"
    title = f"{title} ({metric.worse or 'high'})"
    return Row(title, areas, *_rule(metric, cases))


def _rule(metric: Metric, cases: Sequence[Case]) -> tuple[float | None, Lead | None]:
    """The threshold of the first half of the cases, and what it does on the second."""
    losses = [case.lost for case in cases if case.lost is not None and case.half == 0]
    horizon = median(losses) if losses else float("inf")  # a search that kept its cell is not watched for longer

    def end(case: Case) -> float:
        return horizon if case.lost is None else case.lost

    peaks = [(case, turned(metric, "peak", case.series, end(case))) for case in cases]
    first = [(case.lost is not None, peak) for case, peak in peaks if peak is not None and case.half == 0]
    second = [case for case in cases if case.half == 1]
    if {bad for bad, _ in first} != {True, False} or {case.lost is None for case in second} != {True, False}:
        return None, None
    bound, sign = youden(*zip(*first, strict=True)), -1.0 if metric.worse == "low" else 1.0
    if bound < min(peak for _, peak in first):  # nothing separates them better than an alarm in every search
        return None, None

    def alarm(case: Case) -> int | None:
        until = {at: value for at, value in case.series.get(metric.name, {}).items() if at <= end(case)}
        return first_alarm(until, lambda value: sign * value > bound)

    bad, good = ([case for case in second if (case.lost is None) is kept] for kept in (False, True))
    lost = [case.lost for case in bad if case.lost is not None]
    return sign * bound, lead_time([alarm(case) for case in bad], lost, [alarm(case) for case in good])


def verdict_rows(cases: Sequence[Case]) -> list[Row]:
    """What the verdict says at the end of the searches; it chose no threshold on them."""
    rows = []
    for title, states in VERDICTS.items():
        bad, good = ([case for case in cases if (case.lost is None) is kept] for kept in (False, True))
        lost = [case.lost for case in bad if case.lost is not None]
        alarms = [[_given(case, states) for case in part] for part in (bad, good)]
        rows.append(Row(f'verdict "{title}", all searches', {}, None, lead_time(alarms[0], lost, alarms[1])))
    return rows


def _given(case: Case, states: Sequence[str]) -> int | None:
    """The first epoch after which the verdict was one of some states, if it is at the end."""
    return min(case.states[one] for one in states if one in case.states) if case.state in states else None


def show(cases: Sequence[Case]) -> str:
    """The table."""
    bad = sum(case.lost is not None for case in cases)
    head = ["indicator (warns if)", *(f"after {moment}" for moment in MOMENTS), "at the end", "alarm from", "hits",
        "false alarms", "median lead, epochs"]  # fmt: skip
    left = ", ".join(
        f"{sum(case.lost is not None and case.lost > part * case.planned for case in cases)} after {moment}"
        for moment, part in MOMENTS.items()
    )
    lines = [
        f"{len(cases)} searches: {bad} collapsed by the truth ({left} yet to), {len(cases) - bad} did not.",
        "",
    ]
    lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in [*rows_of(cases), *verdict_rows(cases)]:
        areas = [_area(row.areas.get(moment)) for moment in (*MOMENTS, "the end")]
        lines.append(f"| {' | '.join([row.title, *areas, *_rule_words(row)])} |")
    return "\n".join(lines)


def _area(found: tuple[float, Interval, int, int] | None) -> str:
    return "" if found is None else f"{found[0]:.2f} [{found[1].low:.2f}, {found[1].high:.2f}]"


def _rule_words(row: Row) -> list[str]:
    if row.lead is None:
        return ["", "", "", ""]
    hits, late, false = row.lead.hits, row.lead.late, row.lead.false
    return [
        "" if row.threshold is None else f"{row.threshold:.3g}",
        f"{hits.count} of {hits.n}" + (f", {late} late" if late else ""),
        "" if false is None else f"{false.count} of {false.n}",
        "" if row.lead.median is None else f"{row.lead.median:+g}",
    ]


def main(arguments: list[str] | None = None) -> None:
    """Print the table of some folders, or of recorded searches."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, help="folders of searches, each of one setting")
    parser.add_argument("--recorded", type=Path, help="recorded RobustDARTS searches")
    parser.add_argument("--within-methods", action="store_true", help="compare searches of one method only")
    options = parser.parse_args(arguments)
    cases = [case for folder in options.folders for case in cases_of(folder, options.within_methods)]
    if options.recorded:
        cases += recorded_cases(options.recorded)
    if not cases:
        parser.error("Expected folders with finished searches, or --recorded, but found none.")
    print(show(cases))


if __name__ == "__main__":
    main()
