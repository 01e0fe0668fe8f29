"""Which genotype of a search to take, and why: never one that the verdict condemns without saying so."""

from __future__ import annotations

from collections.abc import Mapping

from robustnas.analysis import metrics
from robustnas.analysis.history import History
from robustnas.analysis.measures import DEGENERACY, Series, by_chance, curvature_rise, degeneracy
from robustnas.analysis.registry import thresholds
from robustnas.analysis.thresholds import State, Threshold
from robustnas.analysis.verdict import Evidence, Take
from robustnas.spaces import Genotype

FEW = 0.25  # share of the kept edges that DARTS+ allows to skip connections
SETTLED = 0.2  # share of the plan before which a genotype is that of the initial values
WHY = {
    "healthy": "no sign of collapse was found",
    "undecided": "α has not decided on it: search longer, or select by validation accuracy",
    "did not learn": "it is no better than a random one: search again",
}


def degenerate(history: History, genotype: Genotype) -> list[Threshold]:
    """The signs of collapse that a genotype shows by itself."""
    values, chance = degeneracy(history, genotype), by_chance(history)
    rows = (row for row in thresholds() if row.weight == "decides" and row.series in values)
    return [row for row in rows if row.passes(values[row.series], row.bound(chance.get(row.series, 0.0)))]


def to_take(state: State, seen: list[Evidence], history: History, found: Mapping[str, Series]) -> Take:
    """The genotype to take: the last one where the search did not go wrong, else one from before the signs."""
    end, final = history.epochs[-1], history.final
    if state == "at risk" and final is not None and not degenerate(history, final):
        escaped = any(e.weight == "warns" for e in seen)
        if escaped or degeneracy(history, final)[metrics.SKIP_SHARE.name] <= FEW:
            return Take(None, final, "it is connected, and not dominated by skip connections")
    usual = state in WHY and not (state == "undecided" and _ends_degenerate(history))
    if usual:
        hinted = state == "healthy" and any(e.weight == "hints" for e in seen)
        epoch, why = end, "a single hint does not put a search at risk" if hinted else WHY[state]
    elif not found.get(metrics.SKIP_SHARE.name):
        epoch, why = end, "no other genotype was recorded"
    else:
        epoch, why = _sound_epoch(seen, history, found)
    last = epoch == end and final is not None and (usual or not history.genotypes)
    known = epoch in history.genotypes or epoch in history.alphas
    genotype = final if last else history.genotype(epoch) if known else None
    return Take(None if last else epoch, genotype, _with_flaws(why, state, epoch, genotype, seen, history))


def _with_flaws(
    why: str, state: State, epoch: int, genotype: Genotype | None, seen: list[Evidence], history: History
) -> str:
    """The reason, with what the verdict says against the genotype."""
    flaws = [] if genotype is None else degenerate(history, genotype)
    if flaws and state != "healthy" and all(flaws[0] in degenerate(history, one) for one in _recorded(history)):
        return f"in every recorded genotype {flaws[0].words}: search again"
    collapse = [e for e in seen if e.weight == "decides" and e.threshold.state == "collapsed" and e.since <= epoch]
    measured = [e.threshold for e in collapse if genotype is None or e.threshold.series not in DEGENERACY]
    words = [row.words for row in (*flaws, *measured)]
    if flaws and state == "healthy":  # what has not lasted yet, or is that of the initial values
        return f"it is the latest one, but {words[0]}: wait for the next epochs"
    return f"{why}, but {words[0]}: search again" if words else why


def _ends_degenerate(history: History) -> bool:
    genotypes = _recorded(history)
    return bool(genotypes) and bool(degenerate(history, genotypes[-1]))


def _recorded(history: History) -> list[Genotype]:
    epochs = sorted({*history.genotypes, *history.alphas})
    return [*map(history.genotype, epochs), *([history.final] if history.final else [])]


def _sound_epoch(seen: list[Evidence], history: History, found: Mapping[str, Series]) -> tuple[int, str]:
    """An epoch from before the signs whose genotype is not degenerate, and why it is chosen."""
    skips, free = found[metrics.SKIP_SHARE.name], found.get(metrics.AVOIDABLE.name, {})
    known = {*history.genotypes, *history.alphas}
    sound = [at for at in skips if at not in known or not degenerate(history, history.genotype(at))]
    risen = [e.epoch for e in seen if e.threshold.name == "curvature_rise"]
    centre = curvature_rise(history, found)[risen[0]][1] if risen else -1
    if before := [at for at in sound if at <= centre]:
        return before[-1], "it is the last one before the curvature rose"
    onset = min(e.since for e in seen if e.weight != "notes")
    if early := [at for at in sound if at < onset and history.progress(at) >= SETTLED]:
        return early[-1], "it is the last one before the first sign"
    settled = [at for at in skips if history.progress(at) >= SETTLED] or list(skips)
    best = min(settled, key=lambda at: (at not in sound, skips[at], free.get(at, 0.0), -at))
    return best, "it has the fewest skip connections"
