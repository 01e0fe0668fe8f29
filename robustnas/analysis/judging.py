"""From a history to a verdict: which thresholds are passed, since when, and what follows."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from robustnas.analysis import metrics
from robustnas.analysis.history import History
from robustnas.analysis.measures import Series, by_chance, curvature_rise, dominance, measures
from robustnas.analysis.registry import thresholds
from robustnas.analysis.thresholds import AT_RISK, POINTS, REMEDIES, UNTOUCHED, Remedy, Threshold
from robustnas.analysis.verdict import Evidence, State, Take, Verdict
from robustnas.runs.record import Run, write_text
from robustnas.spaces import SearchSpace

COMPARE = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
ORDER = ("decides", "warns", "hints", "notes")
GENOTYPE = {"skip_domination": metrics.SKIP_SHARE, "parameter_free_domination": metrics.AVOIDABLE}
TRIES = 4  # remedies named at most
MAJORITY, FEW = 0.5, 0.25  # shares of the kept edges: collapse, and what DARTS+ allows
SETTLED = 0.2  # share of the plan before which a genotype is that of the initial values
ROBUST_DECAY = 0.0081  # weight decay from which on no recorded run was taken over by skip connections
MISSING = {  # of which none was measured
    "curvature": (metrics.CURVATURE, metrics.ARCH_CURVATURE),
    "discretisation gap": (metrics.GAP, metrics.DISCRETE_ACCURACY),
    "overfitting": (metrics.OVERFITTING,),
    "layer alignment": (metrics.ALIGNMENT,),
    "gradient match": (metrics.MATCH,),
    "rank correlation": (metrics.RANKING,),
    "α": (metrics.ENTROPY,),
    "genotypes": (metrics.SKIP_SHARE,),
}


def judge(history: History) -> Verdict:
    """Return the verdict on a search by all that is known of it, also while it runs.

    A search collapsed where most of its genotype is without parameters, or where its discretised supernet is hardly
    better than guessing; one such sign decides, if it lasts. It is at risk with two hints or one warning, see the
    thresholds of :mod:`robustnas.analysis.metrics`. If the last epoch shows collapse but the search ended with an
    earlier genotype without it, or α is still near its initial values, the search is at risk, not collapsed. GDAS
    leaves α undecided by design, which is only noted.
    """
    found, chance = measures(history), by_chance(history)
    rows = [(row, row.bound(chance.get(row.series, 0.0))) for row in thresholds()]
    bounds = {row.name: bound for row, bound in reversed(rows)}  # of equal names the first counts: the built-in one
    signs = (sign(row, bound, found.get(row.series, {}), history) for row, bound in rows)
    seen = [evidence for evidence in signs if evidence is not None]
    entropy = found.get(metrics.ENTROPY.name, {})
    seen = [_unless_untouched(e, entropy) for e in _by_outcome(seen, bounds, history)]
    seen.sort(key=lambda e: ORDER.index(e.weight))
    state, since = _state(seen)
    missing = tuple(name for name, series in MISSING.items() if not any(found.get(one.name) for one in series))
    return Verdict(
        state, since, history.epochs[-1], history.planned, history.finished, tuple(seen),
        _take(state, seen, history, found), _remedies(seen, history) if state != "healthy" else (),
        missing, history.space.name, history.name, history.first, history.read_as,
    )  # fmt: skip


def judge_run(folder: str | Path, space: SearchSpace | str | None = None) -> Verdict:
    """Return the verdict on a run and leave ``verdict.json`` in its folder; ``space`` as of :meth:`History.of_run`."""
    verdict = judge(History.of_run(folder, space))
    write_text(Run(Path(folder)).path / "verdict.json", verdict.to_json())
    return verdict


def sign(row: Threshold, bound: float, values: Series, history: History) -> Evidence | None:
    """Evidence of a row: the last measurement, or the first of a latched sign; ``None`` if not passed long enough."""
    passes = COMPARE[row.comparison]
    at = [epoch for epoch in sorted(values) if row.before == 1.0 or history.progress(epoch) <= row.before]
    streak: list[int] = []
    held: Evidence | None = None
    hold = 1 if history.finished and row.weight == "decides" else row.hold
    for epoch in at:
        streak = [*streak, epoch] if passes(values[epoch], bound) else []
        if len(streak) >= hold and history.progress(epoch) >= row.after:
            weight = "notes" if row.name == "undecided" and _in_use("GumbelOneHot", history) else row.weight
            held = Evidence(row, values[epoch], bound, epoch, streak[0], history.edges, weight)
            if row.latched:
                return held
        elif not row.latched:
            held = None
    return held


def _by_outcome(seen: list[Evidence], bounds: Mapping[str, float], history: History) -> list[Evidence]:
    """Signs in the genotype of the last epoch, weighed by the one that the search ended with."""
    final = history.final
    if final is None:
        return seen
    shares = dominance(history, final)
    result = {name: shares[metric.name] for name, metric in GENOTYPE.items()}
    weighed = []
    for e in seen:
        escaped = e.threshold.name in result and not result.pop(e.threshold.name) > e.bound
        weighed.append(replace(e, weight="warns") if escaped else e)
    end = history.epochs[-1]
    for row in thresholds():  # the result is dominated, the last epoch is not
        if result.get(row.name, 0.0) > bounds[row.name]:
            weighed.append(Evidence(row, result[row.name], bounds[row.name], end, end, history.edges, row.weight))
    return weighed


def _unless_untouched(e: Evidence, entropy: Series) -> Evidence:
    """A sign in a genotype of an α that has hardly left its initial values: a risk, not a decision."""
    early = e.threshold.name in GENOTYPE and entropy.get(e.epoch, 0.0) > UNTOUCHED
    return replace(e, weight="warns") if early else e


def _state(seen: list[Evidence]) -> tuple[State, int | None]:
    if decisive := [e.since for e in seen if e.weight == "decides"]:
        return "collapsed", min(decisive)
    points = 0
    for e in sorted(seen, key=lambda e: e.since):
        points += POINTS[e.weight]
        if points >= AT_RISK:
            return "at risk", e.since
    return "healthy", None


def _take(state: State, seen: list[Evidence], history: History, found: Mapping[str, Series]) -> Take:
    """The genotype to take: the last one of a healthy search, else one from before the signs."""
    end, final = history.epochs[-1], history.final
    if state != "healthy" and final is not None:
        shares = dominance(history, final)
        escaped = any(e.weight == "warns" for e in seen)
        if max(shares.values()) <= MAJORITY and (shares[metrics.SKIP_SHARE.name] <= FEW or escaped):
            return Take(None, final, "it is not dominated by operations without parameters")
    if state == "healthy":
        hinted = any(e.weight == "hints" for e in seen)
        epoch, why = end, "a single hint does not put a search at risk" if hinted else "no sign of collapse was found"
    elif not found.get(metrics.SKIP_SHARE.name):
        epoch, why = end, "no other genotype was recorded"
    else:
        epoch, why = _sound_epoch(seen, history, found)
    if epoch == end and final is not None and (state == "healthy" or not history.genotypes):
        return Take(None, final, why)
    known = epoch in history.genotypes or epoch in history.alphas
    return Take(epoch, history.genotype(epoch) if known else None, why)


def _sound_epoch(seen: list[Evidence], history: History, found: Mapping[str, Series]) -> tuple[int, str]:
    """An epoch from before the signs whose genotype is not dominated, and why it is chosen."""
    skips, free = found[metrics.SKIP_SHARE.name], found.get(metrics.AVOIDABLE.name, {})
    sound = [at for at in skips if max(skips[at], free.get(at, 0.0)) <= MAJORITY]
    risen = [e.epoch for e in seen if e.threshold.name == "curvature_rise"]
    centre = curvature_rise(history, found)[risen[0]][1] if risen else -1
    if before := [at for at in sound if at <= centre]:
        return before[-1], "it is the last one before the curvature rose"
    onset = min(e.since for e in seen if e.weight != "notes")
    if early := [at for at in sound if at < onset and history.progress(at) >= SETTLED]:
        return early[-1], "it is the last one before the first sign"
    settled = [at for at in skips if history.progress(at) >= SETTLED] or list(skips)
    best = min(settled, key=lambda at: (skips[at], free.get(at, 0.0), -at))
    why = "it has the fewest skip connections"
    return best, why if best in sound else f"{why}, but still too many operations without parameters: search again"


def _remedies(seen: list[Evidence], history: History) -> tuple[Remedy, ...]:
    """What to try, the most direct remedies of the weightiest signs first, without what the search already did."""
    ranked = [name for e in seen if e.weight != "notes" for name in e.threshold.helps]
    named = [REMEDIES[name] for name in dict.fromkeys(ranked) if name in REMEDIES and not _in_use(name, history)]
    return tuple(named[:TRIES])


def _in_use(name: str, history: History) -> bool:
    settings = history.settings
    if name == "weight_decay":
        value = settings.get("weight_decay", 0.0)
        return isinstance(value, int | float) and value >= ROBUST_DECAY
    if name == "drop_path":
        return bool(settings.get("drop_path"))
    parts = [part.get("class_path", "") for part in settings.values() if isinstance(part, dict)]
    return any(str(path).rpartition(".")[2] == name for path in parts)
