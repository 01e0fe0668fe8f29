r"""The series that thresholds look at: what was logged, and what follows from α and genotypes.

Beside the names under which diagnostics log, these are computed, each at the epochs where its sources are known. Of
several kinds of cell that keep the resolution, the worst counts.

- ``genotype/skip_share``: skip connections over kept edges;
- ``genotype/avoidable``: edges without parameters, over the kept edges that could have carried some: in S1 two edges
  of the normal cell cannot;
- ``genotype/skip_rise``: mean of ``skip_share`` over the last 5 epochs, minus that of 10 epochs before;
- ``genotype/unchanged``: epochs since the first, as long as the genotype is that of the first;
- ``genotype/churn``: mean of ``genotype/changed`` over 5 epochs;
- ``shares/skip_excess``: :math:`(m - u) / (1 - u)` with the mean share :math:`m` of skips and that of a uniform
  mixture :math:`u`; 0 at the start, 1 where every edge is a skip;
- ``shares/most_none``: mean share of ``none``, in the kind of cell that has most;
- ``alpha/moved``: largest change of an α since the epoch recorded before;
- ``curvature/rise``: what the averaged curvature grew by at least, as
  :class:`~robustnas.strategies.stopping.CurvatureRise` has it, with the earlier average of what it was at most;
- ``gap/over_chance``: accuracy of the discretised supernet over that of guessing, where the supernet itself is at
  least twice as good as guessing and α has decided (entropy under 0.9);
- ``gap/lost``: share of the supernet's accuracy above chance that rounding loses; ``gap/rise``: gain of
  ``gap/accuracy`` over 10 epochs, between means of 3 measurements;
- ``generalisation/smooth``: mean of ``generalisation/accuracy`` over 5 epochs;
- ``gradient/alignment``: the smallest over the kinds of cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from statistics import fmean, median
from typing import Any

import numpy as np

from robustnas.analysis.architecture_statistics import PARAMETER_FREE, of_genotype, of_shares, softmax
from robustnas.analysis.history import Array, History
from robustnas.spaces import Choice, Genotype, SearchSpace

Series = dict[int, float]

RISE = 10  # epochs over which a rise is measured
WINDOW, LAG, START = 5, 4, 10  # of the published rule on curvature, see CurvatureRise
NEGLIGIBLE = 1e-3  # curvature that is nothing to rise from, as in CurvatureRise


def measures(history: History) -> dict[str, Series]:
    """Every series of a history that can be known.

    Args:
        history: What was recorded.

    Returns:
        Name to values by epoch, none of them empty. A logged series goes before one computed again.
    """
    genotypes = dict(history.genotypes) or {at: strongest(history, alpha) for at, alpha in history.alphas.items()}
    computed: dict[str, Series] = {}
    _add_genotypes(computed, history, genotypes)
    _add_alphas(computed, history)
    found = {name: dict(values) for name, values in {**computed, **history.series}.items()}
    _add_gaps(found, history)
    skips = [found.get(f"shares/skip_connect_{kind}", {}) for kind in history.plain_kinds]
    uniform = max((_uniform(history, kind, "skip_connect") for kind in history.plain_kinds), default=0.0)
    if uniform < 1:
        found["shares/skip_excess"] = {at: (m - uniform) / (1 - uniform) for at, m in _worst(skips, max).items()}
    found["shares/most_none"] = _worst([found.get(f"shares/none_{kind}", {}) for kind in history.space.cells], max)
    found["gradient/alignment"] = _worst(
        [v for name, v in found.items() if name.startswith("gradient/alignment_")], min
    )
    found["genotype/skip_rise"] = rise(found.get("genotype/skip_share", {}), RISE, 5)
    found["genotype/churn"] = moving(found.get("genotype/changed", {}), 5)
    found["curvature/rise"] = {at: ratio for at, (ratio, _) in curvature_rise(history, found).items()}
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
    """Growth of the averaged curvature, and the epoch that the growth is measured from.

    Args:
        history: The history, for its plan: the rule's start at epoch 10 of 50 shrinks with shorter searches.
        found: Series among which ``curvature/max`` is, or the stopping rule's own ``arch/curvature``.

    Returns:
        Epoch to the ratio of two averages and the centre of the earlier one, which is the epoch to return to.
    """
    name = "arch/curvature" if found.get("arch/curvature") else "curvature/max"
    values = found.get(name, {})
    upper = {**values, **found.get(f"{name}_upper", {})}
    at = sorted(values)
    if len(at) > 2 and at[-1] - at[-2] < median(after - before for before, after in pairwise(at)):
        at = at[:-1]  # the last epoch is measured out of turn, and not judged
    start = min(START, history.planned // 5) if history.planned else START
    first = (WINDOW + 1) // 2
    ends = range(first, len(at) + 1)
    least, most = (
        [fmean(known[epoch] for epoch in at[max(0, end - WINDOW) : end]) for end in ends] for known in (values, upper)
    )
    rises = {}
    for i in range(first - 1 + LAG, len(at)):
        earlier, now = most[i - first + 1 - LAG], least[i - first + 1]
        centre = i - LAG - WINDOW // 2
        if centre >= 0 and at[centre] - history.first >= start and earlier > NEGLIGIBLE:
            rises[at[i]] = min(now / earlier, 1e9), at[centre]
    return rises


def strongest(history: History, alpha: Mapping[str, Array]) -> Genotype:
    """Round α as DARTS does: the strongest operation of an edge, the strongest edges of a node."""
    cells, shares = {}, shares_of(history, alpha)
    for kind, cell in history.space.cells.items():
        chosen: list[Choice] = []
        for node in cell.nodes:
            scored = []
            for row, edge in cell.edges_into(node):
                pairs = zip(shares[kind][row], edge.operations, strict=False)
                best = max((pair for pair in pairs if pair[1] not in cell.never_selected), key=lambda pair: pair[0])
                scored.append((best[0], Choice(edge.source, node, best[1])))
            ranked = scored if cell.keep is None else sorted(scored, key=lambda pair: -pair[0])[: cell.keep]
            chosen += [choice for _, choice in ranked]
        cells[kind] = tuple(chosen)
    return Genotype(history.space.name, cells)


def shares_of(history: History, alpha: Mapping[str, Array]) -> dict[str, Array]:
    """Shares of the operations: α itself where its rows are positive and sum to one, else its softmax."""
    if are_shares(history.space, alpha):
        return candidates(history.space, alpha)
    return softmax(history.space, alpha)


def are_shares(space: SearchSpace, alpha: Mapping[str, Array], tolerance: float = 1e-3) -> bool:
    """Whether the rows of α are positive and sum to one, up to a tolerance."""
    rows = candidates(space, alpha).values()
    return all((row >= 0).all() and np.allclose(row.sum(axis=1), 1, atol=tolerance) for row in rows)


def candidates(space: SearchSpace, alpha: Mapping[str, Array]) -> dict[str, Array]:
    """α with zeros in the columns past the candidates of an edge."""
    return {
        kind: np.where(
            np.arange(cell.shape[1]) < np.array([[len(edge.operations)] for edge in cell.edges]),
            np.asarray(alpha[kind], dtype=float), 0.0,
        )
        for kind, cell in space.cells.items()
    }  # fmt: skip


def avoidable(history: History, genotype: Genotype, kind: str) -> float:
    """Edges without parameters, over the kept edges that could have carried some."""
    could = {
        (edge.source, edge.node)
        for edge in history.space.cells[kind].edges
        if set(edge.operations) - PARAMETER_FREE - history.space.cells[kind].never_selected
    }
    free = [choice.operation in PARAMETER_FREE for choice in genotype.cells[kind] if choice[:2] in could]
    return sum(free) / len(free) if free else 0.0


def by_chance(history: History) -> dict[str, float]:
    """What a random genotype has of the shares that are counted, the largest over the kinds of cell."""
    expected = {"genotype/skip_share": 0.0, "genotype/avoidable": 0.0}
    for kind in history.plain_kinds:
        cell = history.space.cells[kind]
        could = [[name for name in edge.operations if name not in cell.never_selected] for edge in cell.edges]
        choices = [names for names in could if set(names) - PARAMETER_FREE]
        skips = fmean(names.count("skip_connect") / len(names) for names in could)
        free = [len(set(names) & PARAMETER_FREE) / len(names) for names in choices]
        expected["genotype/skip_share"] = max(expected["genotype/skip_share"], skips)
        expected["genotype/avoidable"] = max(expected["genotype/avoidable"], fmean(free) if free else 0.0)
    return expected


def skip_share(history: History, genotype: Genotype, kind: str) -> float:
    """Skip connections over the edges of a kind of cell."""
    return genotype.count("skip_connect")[kind] / history.kept_edges(kind)


def _add_genotypes(found: dict[str, Series], history: History, genotypes: Mapping[int, Genotype]) -> None:
    at, kinds = sorted(genotypes), history.plain_kinds
    for before, epoch in zip([None, *at], at, strict=False):
        genotype = genotypes[epoch]
        values: dict[str, Any] = of_genotype(history.space, genotype, None if before is None else genotypes[before])
        values["genotype/skip_share"] = max(skip_share(history, genotype, kind) for kind in kinds)
        values["genotype/avoidable"] = max(avoidable(history, genotype, kind) for kind in kinds)
        if before is not None:
            values["genotype/unchanged"] = epoch - at[0] if genotype == genotypes[at[0]] else 0
            if found["genotype/unchanged"].get(before, 1) == 0:
                values["genotype/unchanged"] = 0
        else:
            found["genotype/unchanged"] = {}
        for name, value in values.items():
            found.setdefault(name, {})[epoch] = float(value)
    if not at:  # nothing but what was logged
        kept = {kind: history.kept_edges(kind) for kind in kinds}
        logged = [{e: v / kept[k] for e, v in history.series.get(f"genotype/skips_{k}", {}).items()} for k in kinds]
        found["genotype/skip_share"] = _worst(logged, max)


def _add_alphas(found: dict[str, Series], history: History) -> None:
    before: Mapping[str, Array] | None = None
    for epoch, alpha in sorted(history.alphas.items()):
        values = of_shares(history.space, shares_of(history, alpha))
        if before is not None:
            values["alpha/moved"] = max(_distance(alpha[kind], before[kind]) for kind in alpha)
        for name, value in values.items():
            found.setdefault(name, {})[epoch] = value
        before = alpha


def _add_gaps(found: dict[str, Series], history: History) -> None:
    if "generalisation/accuracy" not in found:
        name = "top1" if "val/top1" in found else "accuracy"
        train, val = found.get(f"train/{name}", {}), found.get(f"val/{name}", {})
        found["generalisation/accuracy"] = {at: train[at] - val[at] for at in set(train) & set(val)}
    found["generalisation/smooth"] = moving(found["generalisation/accuracy"], 5)
    found["gap/rise"] = rise(found.get("gap/accuracy", {}), RISE, 3)
    if history.classes is None:
        return
    chance, entropy = 1 / history.classes, found.get("alpha/entropy", {})
    whole, discrete = found.get("gap/supernet_accuracy", {}), found.get("gap/discrete_accuracy", {})
    learnt = {at for at in set(whole) & set(discrete) if whole[at] >= 2 * chance}
    found["gap/lost"] = {at: (whole[at] - discrete[at]) / (whole[at] - chance) for at in learnt}
    found["gap/over_chance"] = {at: discrete[at] / chance for at in learnt if entropy.get(at, 0.0) < 0.9}


def _distance(one: Array, other: Array) -> float:
    with np.errstate(invalid="ignore"):  # of two masked operations
        steps = np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float))
    return float(steps[np.isfinite(steps)].max(initial=0.0))


def _uniform(history: History, kind: str, operation: str) -> float:
    shares = [1 / len(e.operations) for e in history.space.cells[kind].edges if operation in e.operations]
    return fmean(shares) if shares else 0.0


def _worst(parts: list[Series], choose: Any) -> Series:
    epochs = {at for part in parts for at in part}
    return {at: choose(part[at] for part in parts if at in part) for at in epochs}
