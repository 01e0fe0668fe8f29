"""Where the thresholds of the verdict come from."""

from __future__ import annotations

ZELA, LIANG, MOVAHEDI, YU = "arXiv:1909.09656", "arXiv:1909.06035", "arXiv:2210.07998", "arXiv:1902.08142"
OLES, DA2S, OWN = "OLES, NeurIPS 2023", "arXiv:2007.03154", "ours"
