r"""The series that thresholds look at: what was logged, and what follows from α and genotypes.

Beside the series that diagnostics log, these are computed, each at the epochs where its sources are known. Of several
kinds of cell that keep the resolution, the worst counts.

- ``genotype/skip_share``: skip connections over kept edges;
- ``genotype/avoidable``: edges without parameters, over the kept edges that could have carried some: in S1 two edges
  of the normal cell cannot;
- ``genotype/live``: edges on a path from an input of the cell to its output, over its kept edges, in the kind of cell
  that has fewest; ``genotype/live_parametric``: those of them with parameters, likewise, where the space has any;
- ``genotype/skip_rise``: mean of ``skip_share`` over the last 5 epochs, minus that of 10 epochs before;
- ``genotype/unchanged``: epochs since the first, as long as the genotype is that of the first;
- ``genotype/churn``: mean of ``genotype/changed`` over 5 epochs;
- ``shares/skip_excess``: :math:`(m - u) / (1 - u)` with the mean share :math:`m` of skips and that of a uniform
  mixture :math:`u`; 0 at the start, 1 where every edge is a skip;
- ``shares/most_none``: mean share of ``none``, in the kind of cell that has most;
- ``alpha/moved``: largest change of an α since the epoch recorded before;
- ``curvature/rise``: lower bound of the growth of the averaged curvature, see
  :class:`~robustnas.strategies.stopping.CurvatureRise`: the earlier average is that of upper bounds, and averages are
  of fewer measurements where those are few or far apart;
- ``alpha/margin_noise``: margin of the median kept edge over the noise of its steps, see
  :func:`~robustnas.analysis.step_noise.margin_over_noise`;
- ``gap/over_chance``: :math:`1 + (a - c) / m` with the accuracy :math:`a` of the discretised supernet, that of a
  constant answer :math:`c` and the margin :math:`m` of :func:`~robustnas.analysis.chance.margin`, so that it is
  :math:`a / c` with ten classes of one size or more; where the supernet itself is above :math:`c + m` and α has
  decided (entropy under 0.9);
- ``gap/lost``: share of the supernet's accuracy above chance that discretisation loses; ``gap/rise``: gain of
  ``gap/accuracy`` over 10 epochs, between means of 3 measurements;
- ``generalisation/smooth``: mean of ``generalisation/accuracy`` over 5 epochs;
- ``gradient/alignment``: the smallest over the kinds of cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from statistics import fmean, median

import numpy as np

from robustnas.analysis import metrics
from robustnas.analysis.architecture_statistics import of_genotype, of_shares
from robustnas.analysis.chance import margin, near
from robustnas.analysis.curvature_rise import START, rises, window_and_lag
from robustnas.analysis.history import Array, History
from robustnas.analysis.registry import scores, uncertainty
from robustnas.analysis.step_noise import margin_over_noise
from robustnas.spaces import Genotype, live_choices
from robustnas.spaces.parameter_free import PARAMETER_FREE

Series = dict[int, float]

#: Series that a genotype has by itself, see :func:`degeneracy`.
DEGENERACY = tuple(one.name for one in (metrics.SKIP_SHARE, metrics.AVOIDABLE, metrics.LIVE, metrics.LIVE_PARAMETRIC))
HIGH = (metrics.SKIP_SHARE.name, metrics.AVOIDABLE.name)  # those that are worst where they are largest
RISE = 10  # epochs over which a rise is measured


def measures(history: History) -> dict[str, Series]:
    """Every series of a history that can be known, none of them empty; a logged one goes before one computed again."""
    space, kinds = history.space, history.normal_kinds
    found = {**_of_genotypes(history), **_of_alphas(history)}
    found |= {name: dict(values) for name, values in history.series.items()}

    def known(name: str) -> Series:
        return found.get(name, {})

    _add_gaps(found, history)
    skips = [known(metrics.SKIP_CONNECT_SHARE.of(kind)) for kind in kinds]
    uniform = max((_uniform(history, kind, "skip_connect") for kind in kinds), default=0.0)
    if uniform < 1:
        excess = {at: (mean - uniform) / (1 - uniform) for at, mean in _worst(skips, max).items()}
        found[metrics.SKIP_EXCESS.name] = excess
    found[metrics.MOST_NONE.name] = _worst((known(metrics.NONE_SHARE.of(kind)) for kind in space.cells), max)
    aligned = [values for name, values in found.items() if name.startswith(metrics.ALIGNMENT.of(""))]
    found[metrics.ALIGNMENT.name] = _worst(aligned, min)
    found[metrics.SKIP_RISE.name] = rise(known(metrics.SKIP_SHARE.name), RISE, 5)
    found[metrics.CHURN.name] = moving(known(metrics.CHANGED.name), 5)
    found[metrics.CURVATURE_RISE.name] = {at: ratio for at, (ratio, _) in curvature_rise(history, found).items()}
    return {name: dict(sorted(values.items())) for name, values in found.items() if values}


def moving(values: Mapping[int, float], window: int) -> Series:
    """Mean of the last measurements at each epoch, from the one that fills the window on."""
    at = sorted(values)
    return {at[i]: fmean(values[k] for k in at[i - window + 1 : i + 1]) for i in range(window - 1, len(at))}


def rise(values: Mapping[int, float], epochs: int, window: int) -> Series:
    """Moving mean minus that of a number of epochs before, or of the next measurement after that."""
    smooth = moving(values, window)
    earlier = {at: [before for before in smooth if at - before >= epochs] for at in smooth}
    return {at: value - smooth[max(earlier[at])] for at, value in smooth.items() if earlier[at]}


def curvature_rise(history: History, found: Mapping[str, Series]) -> dict[int, tuple[float, int]]:
    """Epoch to the growth of the averaged curvature and the epoch to return to; short searches are judged earlier."""
    name = next((one.name for one in (metrics.ARCH_CURVATURE, metrics.CURVATURE) if found.get(one.name)), "")
    values = found.get(name, {})
    upper = {**values, **(found.get(uncertainty(name)[0], {}) if name else {})}
    at = sorted(values)
    if len(at) > 2 and at[-1] - at[-2] < median(after - before for before, after in pairwise(at)):
        at = at[:-1]  # the last epoch is measured out of turn, and not judged
    start = history.first + (min(START, history.planned // 5) if history.planned else START)
    spacing = (at[-1] - at[0]) / (len(at) - 1) if len(at) > 1 else 1.0
    window, lag = window_and_lag(spacing, (history.planned or math.inf) / spacing)
    grown = rises(at, [values[one] for one in at], [upper[one] for one in at], window, lag, start)
    return {at[i]: (min(ratio, 1e9), at[centre]) for i, (ratio, centre) in grown.items()}


def avoidable(history: History, genotype: Genotype, kind: str) -> float:
    """Edges without parameters, over the kept edges that could have carried some."""
    could = _could(history, kind)
    free = [choice.operation in PARAMETER_FREE for choice in genotype.cells[kind] if choice[:2] in could]
    return sum(free) / len(free) if free else 0.0


def by_chance(history: History) -> dict[str, float]:
    """What a random genotype has of the shares that are counted, in the kind of cell that has most; near accuracies."""
    skips, free = [0.0], [0.0]
    for kind in history.normal_kinds:
        could = [names for *_, names in _selectable(history, kind)]
        skips.append(fmean(names.count("skip_connect") / len(names) for names in could))
        parts = [len(set(names) & PARAMETER_FREE) / len(names) for names in could if set(names) - PARAMETER_FREE]
        free.append(fmean(parts) if parts else 0.0)
    accuracy = {} if history.chance is None else {metrics.VAL_TOP1.name: near(history.chance, history.samples)}
    return {metrics.SKIP_SHARE.name: max(skips), metrics.AVOIDABLE.name: max(free), **accuracy}


def degeneracy(history: History, genotype: Genotype) -> dict[str, float]:
    """Shares of the kept edges that make a genotype degenerate, in the kind of cell that is worst."""
    return {name: (max if name in HIGH else min)(of.values()) for name, of in _by_kind(history, genotype).items()}


def edges_counted(history: History, genotype: Genotype, series: str) -> int:
    """Edges of the kind of cell that is worst in a series of :func:`degeneracy`: what its share is one of."""
    if series == metrics.AVOIDABLE.name:
        return could_carry(history, genotype)
    values = _by_kind(history, genotype)[series]
    return len(genotype.cells[(max if series in HIGH else min)(values, key=lambda kind: values[kind])])


def _by_kind(history: History, genotype: Genotype) -> dict[str, dict[str, float]]:
    skips, kinds = genotype.count("skip_connect"), history.normal_kinds
    live = {kind: live_choices(history.space, genotype, kind) for kind in history.space.cells}
    size = {kind: max(len(choices), 1) for kind, choices in genotype.cells.items()}  # the kept edges, or fewer
    values = {
        metrics.SKIP_SHARE.name: {kind: skips[kind] / size[kind] for kind in kinds},
        metrics.AVOIDABLE.name: {kind: avoidable(history, genotype, kind) for kind in kinds},
        metrics.LIVE.name: {kind: len(choices) / size[kind] for kind, choices in live.items()},
    }
    if parametric := [kind for kind in kinds if _could(history, kind)]:
        values[metrics.LIVE_PARAMETRIC.name] = {
            kind: sum(choice.operation not in PARAMETER_FREE for choice in live[kind]) / size[kind]
            for kind in parametric
        }
    return values


def could_carry(history: History, genotype: Genotype) -> int:
    """Kept edges that could carry parameters, in the kind of cell that has most without them."""
    kind = max(history.normal_kinds, key=lambda kind: avoidable(history, genotype, kind))
    return sum(choice[:2] in _could(history, kind) for choice in genotype.cells[kind])


def _could(history: History, kind: str) -> set[tuple[int, int]]:
    """Edges of a kind of cell that could carry parameters."""
    return {(source, node) for source, node, names in _selectable(history, kind) if set(names) - PARAMETER_FREE}


def _selectable(history: History, kind: str) -> list[tuple[int, int, list[str]]]:
    """Source and node of each edge, with the operations that a genotype may carry there."""
    cell = history.space.cells[kind]
    return [(edge.source, edge.node, list(cell.selectable(edge).values())) for edge in cell.edges]


def _of_genotypes(history: History) -> dict[str, Series]:
    genotypes = dict(history.genotypes) or {at: history.genotype(at) for at in history.alphas}
    at, kinds = sorted(genotypes), history.normal_kinds
    if not at:  # nothing but what was logged
        logged = {kind: history.series.get(metrics.SKIPS.of(kind), {}) for kind in kinds}
        shares = [{at: n / history.kept_edges(kind) for at, n in counts.items()} for kind, counts in logged.items()]
        return {metrics.SKIP_SHARE.name: _worst(shares, max)}
    rows, unchanged = dict[int, dict[str, float]](), True
    for before, epoch in zip([None, *at], at, strict=False):
        genotype = genotypes[epoch]
        rows[epoch] = of_genotype(history.space, genotype, None if before is None else genotypes[before])
        rows[epoch] |= degeneracy(history, genotype)
        unchanged = unchanged and genotype == genotypes[at[0]]
        if before is not None:
            rows[epoch][metrics.UNCHANGED.name] = epoch - at[0] if unchanged else 0
    return _by_name(rows)


def _of_alphas(history: History) -> dict[str, Series]:
    alphas = dict(sorted(history.alphas.items()))
    shares = {epoch: history.shares(epoch) for epoch in alphas}
    rows = {epoch: of_shares(history.space, shares[epoch], history.independent) for epoch in alphas}
    for (_, before), (epoch, alpha) in pairwise(alphas.items()):
        rows[epoch][metrics.MOVED.name] = max(_distance(alpha[kind], before[kind]) for kind in alpha)
    genotypes = {epoch: history.genotype(epoch) for epoch in alphas}
    return {
        **_by_name(rows),
        metrics.MARGIN_NOISE.name: margin_over_noise(history.space, shares, genotypes, history.independent),
    }


def _by_name(rows: Mapping[int, Mapping[str, float]]) -> dict[str, Series]:
    found: dict[str, Series] = {}
    for epoch, row in rows.items():
        for name, value in row.items():
            found.setdefault(name, {})[epoch] = float(value)
    return found


def _add_gaps(found: dict[str, Series], history: History) -> None:
    if (overfitting := metrics.OVERFITTING.name) not in found:
        pairs = zip(scores("train")[:2], scores("val")[:2], strict=True)  # of the accuracies
        train, val = next(((found.get(t, {}), found[v]) for t, v in pairs if v in found), ({}, {}))
        found[overfitting] = {at: train[at] - val[at] for at in set(train) & set(val)}
    found[metrics.SMOOTH_OVERFITTING.name] = moving(found[overfitting], 5)
    found[metrics.GAP_RISE.name] = rise(found.get(metrics.GAP.name, {}), RISE, 3)
    if (chance := history.chance) is None:
        return
    entropy = found.get(metrics.ENTROPY.name, {})
    whole, discrete = (found.get(one.name, {}) for one in (metrics.SUPERNET_ACCURACY, metrics.DISCRETE_ACCURACY))
    learnt = {at for at in set(whole) & set(discrete) if whole[at] > chance + margin(chance)}
    found[metrics.LOST.name] = {at: (whole[at] - discrete[at]) / (whole[at] - chance) for at in learnt}
    decided = (at for at in learnt if entropy.get(at, 0.0) < 0.9)
    found[metrics.OVER_CHANCE.name] = {at: 1 + (discrete[at] - chance) / margin(chance) for at in decided}


def _distance(one: Array, other: Array) -> float:
    with np.errstate(invalid="ignore"):  # of two masked operations
        steps = np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float))
    return float(steps[np.isfinite(steps)].max(initial=0.0))


def _uniform(history: History, kind: str, operation: str) -> float:
    edges = [edge for edge in history.space.cells[kind].edges if operation in edge.operations]
    return fmean(0.5 if history.independent else 1 / len(edge.operations) for edge in edges) if edges else 0.0


def _worst(parts: Iterable[Series], choose: Callable[[Iterable[float]], float]) -> Series:
    held = list(parts)
    return {at: choose(part[at] for part in held if at in part) for at in {at for part in held for at in part}}
