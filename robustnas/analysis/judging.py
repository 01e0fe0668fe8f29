"""From a history to a verdict: which thresholds are passed, since when, and what follows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from robustnas.analysis import metrics
from robustnas.analysis.history import History
from robustnas.analysis.measures import DEGENERACY, Series, by_chance, degeneracy, edges_counted, measures
from robustnas.analysis.registry import thresholds
from robustnas.analysis.taking import SETTLED, to_take
from robustnas.analysis.thresholds import AT_RISK, POINTS, REMEDIES, STATES, UNTOUCHED, Remedy, State, Threshold
from robustnas.analysis.verdict import Evidence, Verdict
from robustnas.runs.record import Run, write_text
from robustnas.spaces import SearchSpace

ORDER = ("decides", "warns", "hints", "notes")
TRIES = 4  # remedies named at most
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

    One sign that decides on a state is enough, if it lasts; of several states the last of
    :data:`~robustnas.analysis.thresholds.STATES` counts. A search did not learn where its supernet is hardly better
    than a constant answer. It collapsed where its genotype carries nothing, or mostly skip connections, or where its
    discretised supernet is hardly better than a constant answer. It is undecided where α is almost uniform or its
    margins are within the noise of its steps. It is at risk with two hints or one warning. If the last epoch shows
    collapse but the search ended with an earlier genotype without it, or α is still near its initial values, that only
    warns. All thresholds are those of :mod:`robustnas.analysis.metrics`.
    """
    found, chance = measures(history), by_chance(history)
    rows = [(row, row.bound(chance.get(row.series, 0.0))) for row in thresholds() if _applies(row, history)]
    signs = (sign(row, bound, found.get(row.series, {}), history) for row, bound in rows)
    seen = _by_outcome([evidence for evidence in signs if evidence is not None], rows, history)
    entropy = found.get(metrics.ENTROPY.name, {})
    seen = [_counted(_unless_early(e, entropy, history), history) for e in seen]
    seen.sort(key=lambda e: (ORDER.index(e.weight), -STATES.index(e.threshold.state)))
    state, since = _state(seen)
    missing = tuple(name for name, series in MISSING.items() if not any(found.get(one.name) for one in series))
    take = to_take(state, seen, history, found)
    other = take.genotype is not None and history.cost is not None and str(take.genotype) != history.cost.genotype
    cost = found.get(metrics.GENOTYPE_COST.name, {}).get(-1 if take.epoch is None else take.epoch) if other else None
    return Verdict(
        state, since, history.epochs[-1], history.planned, history.finished, tuple(seen), take,
        _remedies(seen, history), missing, history.space.name, history.name, history.first, history.read_as,
        history.cost, cost,
    )  # fmt: skip


def judge_run(folder: str | Path, space: SearchSpace | str | None = None) -> Verdict:
    """Return the verdict on a run and leave ``verdict.json`` in its folder; ``space`` as of :meth:`History.of_run`."""
    verdict = judge(History.of_run(folder, space))
    write_text(Run(Path(folder)).path / "verdict.json", verdict.to_json())
    return verdict


def sign(row: Threshold, bound: float, values: Series, history: History) -> Evidence | None:
    """Evidence of a row: the last measurement, or the first of a latched sign; ``None`` if not passed long enough."""
    at = [epoch for epoch in sorted(values) if row.before == 1.0 or history.progress(epoch) <= row.before]
    streak: list[int] = []
    held: Evidence | None = None
    hold = row.hold
    if history.finished:
        hold = 1 if row.weight == "decides" else min(hold, max(len(at), 1))
    for epoch in at:
        streak = [*streak, epoch] if row.passes(values[epoch], bound) else []
        if len(streak) >= hold and history.progress(epoch) >= row.after:
            held = Evidence(row, values[epoch], bound, epoch, streak[0], history.edges, row.weight)
            if row.latched:
                return held
        elif not row.latched:
            held = None
    return held


def _applies(row: Threshold, history: History) -> bool:
    """Where operations are sampled one at a time, α need not leave uniform: its margins tell whether it decided."""
    return row.name != "undecided" or not _in_use("GumbelOneHot", history)


def _in_genotype(row: Threshold) -> bool:
    """Whether a genotype shows the sign by itself."""
    return row.series in DEGENERACY and row.weight in ("decides", "notes")


def _by_outcome(seen: list[Evidence], rows: list[tuple[Threshold, float]], history: History) -> list[Evidence]:
    """Signs in the genotype of the last epoch, weighed by the one that the search ended with."""
    if history.final is None:
        return seen
    result, end = degeneracy(history, history.final), history.epochs[-1]
    shown = {row: bound for row, bound in rows if _in_genotype(row) and row.series in result}
    still = [row for row, bound in shown.items() if row.passes(result[row.series], bound)]
    weighed = []
    for e in seen:
        if e.threshold not in shown or e.threshold in still:
            weighed.append(e)
        elif e.weight == "decides":
            weighed.append(replace(e, weight="warns"))
    new = [row for row in still if all(e.threshold != row for e in seen)]  # the last epoch does not show it
    at_end = (Evidence(row, result[row.series], shown[row], end, end, history.edges, row.weight) for row in new)
    return [*weighed, *at_end]


def _unless_early(e: Evidence, entropy: Series, history: History) -> Evidence:
    """A sign in a genotype of an α that has hardly left its initial values: a risk, not a decision."""
    begun = not history.finished and history.progress(e.epoch) < SETTLED
    early = begun or entropy.get(e.epoch, 0.0) > UNTOUCHED
    return replace(e, weight="warns") if early and e.weight == "decides" and _in_genotype(e.threshold) else e


def _counted(e: Evidence, history: History) -> Evidence:
    """The sign with the edges that it counts: those that could carry parameters may be fewer than the kept ones."""
    series, fewer = e.threshold.series, any(cell.fewer for cell in history.space.cells.values())
    if series != metrics.AVOIDABLE.name and not (fewer and series in DEGENERACY):
        return e
    return replace(e, edges=edges_counted(history, history.final or history.genotype(e.epoch), series))


def _state(seen: list[Evidence]) -> tuple[State, int | None]:
    for state in reversed(STATES):
        if decisive := [e.since for e in seen if e.weight == "decides" and e.threshold.state == state]:
            return state, min(decisive)
    points = 0
    for e in sorted(seen, key=lambda e: e.since):
        points += POINTS[e.weight]
        if points >= AT_RISK:
            return "at risk", e.since
    return "healthy", None


def _remedies(seen: list[Evidence], history: History) -> tuple[Remedy, ...]:
    """What to try, the most direct remedies of the weightiest signs first, without what the search already did."""
    ranked = [name for e in seen if e.weight != "notes" for name in e.threshold.helps]
    named = [REMEDIES[name] for name in dict.fromkeys(ranked) if name in REMEDIES and not _in_use(name, history)]
    return tuple(named[:TRIES])


def _in_use(name: str, history: History) -> bool:
    settings = history.settings
    if name in ("weight_decay", "weaker_decay"):
        value = settings.get("weight_decay", 0.0)
        strong = isinstance(value, int | float) and value >= ROBUST_DECAY
        return strong if name == "weight_decay" else not strong
    if name == "drop_path":
        return bool(settings.get("drop_path"))
    parts = [part.get("class_path", "") for part in settings.values() if isinstance(part, dict)]
    return any(str(path).rpartition(".")[2] == name for path in parts)
