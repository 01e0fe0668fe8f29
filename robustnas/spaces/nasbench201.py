"""The NAS-Bench-201 space (arXiv:2001.00326), one cell of 6 edges with 5 operations, and 64 of its cells."""

from __future__ import annotations

from robustnas.spaces.space import SearchSpace, complete_cell

NASBench201 = SearchSpace(
    "NASBench201",
    {"cell": complete_cell(1, 3, ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"), (3,))},
    skeleton="nasbench201",
)
# 64 of the 15,625 cells, as S2 (arXiv:1909.09656) is of the space of DARTS: each edge is a skip connection or a
# convolution.
NASBench201SkipConv = SearchSpace(
    "NASBench201SkipConv", {"cell": complete_cell(1, 3, ("skip_connect", "nor_conv_3x3"), (3,))}, skeleton="nasbench201"
)
