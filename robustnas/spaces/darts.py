"""The DARTS CIFAR space (arXiv:1806.09055), S1 to S4 of RobustDARTS (arXiv:1909.09656), and spaces of one cell."""

from __future__ import annotations

from robustnas.spaces.space import CellSpace, SearchSpace, complete_cell

Operations = tuple[str, ...] | list[tuple[str, ...]]


def darts_like(
    name: str,
    normal: Operations,
    reduce: Operations | None = None,
    keep: int | None = 2,
    never_selected: tuple[str, ...] = ("none",),
    fewer: bool = False,
    carried: int = 1,
    nodes: int = 4,
    reduction: bool = True,
) -> SearchSpace:
    """Return a space with the cells of DARTS: two inputs, four nodes, 14 edges, by default two edges kept per node.

    Operations are given for all edges or edge by edge; the reduction cell has those of the normal cell by default.
    ``keep``, ``never_selected``, ``fewer`` and ``carried`` are those of :class:`~robustnas.spaces.CellSpace`: by
    default ``none`` is part of the mixture but never selected. A cell of another number of ``nodes`` has every edge
    from an earlier state too; without ``reduction`` there are normal cells only, which keep the resolution of the
    images.

    Raises:
        ValueError: If there are no nodes, or operations of a reduction cell without ``reduction``.
    """
    if nodes < 1:
        raise ValueError(f"Expected `nodes` to be at least 1, but got {nodes}.")
    if not reduction and reduce is not None:
        raise ValueError(f"Expected no `reduce` without `reduction` cells, but got {reduce}.")

    def cell(operations: Operations, halving: bool) -> CellSpace:
        outputs = tuple(range(2, 2 + nodes))
        return complete_cell(2, nodes, operations, outputs, halving, keep, never_selected, fewer, carried)

    if not reduction:
        return SearchSpace(name, {"normal": cell(normal, False)}, "darts_normal")
    return SearchSpace(
        name, {"normal": cell(normal, False), "reduce": cell(normal if reduce is None else reduce, True)}
    )


_SKIP, _MAX, _AVG = "skip_connect", "max_pool_3x3", "avg_pool_3x3"
_SEP3, _SEP5, _DIL3, _DIL5 = "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"
_WITHOUT_NONE = (_MAX, _AVG, _SKIP, _SEP3, _SEP5, _DIL3, _DIL5)

# A line for each node.
_S1_NORMAL: list[tuple[str, ...]] = [
    (_SKIP, _DIL3), (_SKIP, _DIL5),
    (_SKIP, _DIL5), (_SKIP, _SEP3), (_SKIP, _DIL3),
    (_MAX, _SKIP), (_SKIP, _SEP3), (_SKIP, _SEP3), (_SKIP, _DIL3),
    (_SKIP, _SEP3), (_MAX, _SKIP), (_SKIP, _DIL3), (_DIL3, _DIL5), (_DIL3, _DIL5),
]  # fmt: skip
_S1_REDUCE: list[tuple[str, ...]] = [
    (_MAX, _AVG), (_MAX, _DIL3),
    (_MAX, _AVG), (_MAX, _AVG), (_SKIP, _DIL5),
    (_MAX, _AVG), (_MAX, _SEP3), (_SKIP, _DIL3), (_SKIP, _DIL5),
    (_MAX, _AVG), (_MAX, _AVG), (_SKIP, _DIL5), (_SKIP, _DIL5), (_SKIP, _DIL5),
]  # fmt: skip

DARTS = darts_like("DARTS", ("none", *_WITHOUT_NONE))
DARTSWithoutNone = darts_like("DARTSWithoutNone", _WITHOUT_NONE)
# Every edge keeps its operation, and `none`, which is no edge, may be it: what SNAS discretises to (arXiv:1812.09926).
DARTSAllEdges = darts_like("DARTSAllEdges", ("none", *_WITHOUT_NONE), keep=None, never_selected=())
# A node keeps two edges at most; or any, each with two operations at most: what FairDARTS selects by a threshold from
# sigmoids (arXiv:1911.12126).
DARTSFewerEdges = darts_like("DARTSFewerEdges", _WITHOUT_NONE, fewer=True)
DARTSAnyEdges = darts_like("DARTSAnyEdges", _WITHOUT_NONE, keep=None, fewer=True, carried=2)
S1 = darts_like("S1", _S1_NORMAL, _S1_REDUCE)
S2 = darts_like("S2", (_SKIP, _SEP3))
S3 = darts_like("S3", ("none", _SKIP, _SEP3))
S4 = darts_like("S4", ("noise", _SEP3))

# DARTS-Bench-Suite (arXiv:2507.16533) has these beside DARTS itself, in other widths and depths.
_WITHOUT_SKIP = ("none", *(name for name in _WITHOUT_NONE if name != _SKIP))
DARTSWithoutSkip = darts_like("DARTSWithoutSkip", _WITHOUT_SKIP)
DARTSSingleCell = darts_like("DARTSSingleCell", ("none", *_WITHOUT_NONE), nodes=8, reduction=False)
DARTSSingleCellWithoutSkip = darts_like("DARTSSingleCellWithoutSkip", _WITHOUT_SKIP, nodes=8, reduction=False)
