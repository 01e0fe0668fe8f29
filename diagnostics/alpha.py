"""How decided α is, and for what."""

from __future__ import annotations

from robustnas.diagnostics.diagnostic import Diagnostic, log

from robustnas.analysis.architecture_statistics import of_shares
from robustnas.analysis.metrics import PARAMETER_FREE_SHARE, SHARES
from robustnas.data import Probe
from robustnas.training.search import SearchModule


class AlphaShares(Diagnostic):
    r"""Shares of operations, their entropy, and how clearly they decide.

    With the shares :math:`s_{ek}` of operation :math:`k` on edge :math:`e`, means over edges of

    - ``shares/OP`` and ``shares/parameter_free``: where the mass lies. Skip connections and other operations without
      parameters gain mass in a collapse (arXiv:1909.09656, arXiv:1911.12126);
    - ``alpha/entropy``: :math:`-\sum_k s_{ek} \log s_{ek} / \log n_e`, 1 where nothing is decided. Near 1 at the end,
      discretisation is arbitrary; falling early while skip connections gain is how a collapse looks;
    - ``alpha/effective``: :math:`\exp H_e`, operations that effectively take part;
    - ``alpha/margin``, ``alpha/edge_margin``: largest minus second largest share, and strength of the last edge kept
      at a node minus that of the first one dropped;
    - ``alpha/saturated``: share of edges with :math:`\max_k s_{ek} > 0.95`, where the softmax hardly passes a
      gradient (arXiv:2210.07998).

    Where shares are independent of each other, as sigmoids are, the entropy is the mean of
    :math:`-s \log_2 s - (1 - s) \log_2 (1 - s)`, 1 where all are one half; ``alpha/effective`` is :math:`\sum_k s_{ek}`
    and ``alpha/margin`` the mean of :math:`|2 s_{ek} - 1|`.

    ``shares/OP_KIND`` is left to ``metrics.csv``: TensorBoard shows it as histograms and heat maps.
    """

    headline = True
    free = True

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        shares = {kind: share.detach().cpu().numpy() for kind, share in search.shares().items()}
        return of_shares(search.space, shares, search.relaxation.independent)

    def log_value(self, search: SearchModule, name: str, value: float) -> None:
        detail = name.startswith(SHARES.of("")) and name.endswith(tuple(f"_{kind}" for kind in search.space.cells))
        shown = not detail or name.startswith(PARAMETER_FREE_SHARE.name)
        log(search, name, value, logger=None if shown else False)
