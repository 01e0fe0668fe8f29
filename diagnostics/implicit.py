"""What the second order adds to the gradient of α."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from robustnas.diagnostics.diagnostic import Diagnostic
from torch import Tensor
from torch.autograd import grad

from robustnas.analysis.metrics import IMPLICIT_COSINE, IMPLICIT_SHARE
from robustnas.data import Probe
from robustnas.data.batch import derived_seed
from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.strategies import Bilevel, Unrolled, UnrolledByDifferences
from robustnas.strategies.gradient import slopes_in
from robustnas.training.search import SearchModule


class ImplicitShare(Diagnostic):
    r"""Share of the implicit term in the second-order gradient of α (arXiv:1806.09055).

    The gradient of the validation loss after one step of the weights, :math:`w'`, is a direct term minus an implicit
    one, which says how α would change that step (:class:`~robustnas.strategies.Unrolled`):

    .. math:: g = \nabla_\alpha L_\text{arch}(w', \alpha) - h, \qquad
        h = \eta\, \nabla_\alpha \langle \nabla_w L_\text{weights}(w, \alpha), \nabla_{w'} L_\text{arch}(w', \alpha)
        \rangle, \qquad \text{gradient/implicit_share} = \|h\| / \|g\| .

    Near 0, a second-order search does what a first-order one would at a third of the price; near or above 1, α mostly
    follows the step. With ``differences``, ``gradient/implicit_cosine`` is the cosine between :math:`h` and its finite
    difference (:class:`~robustnas.strategies.UnrolledByDifferences`): below 0.5, kinks of ReLU and max pooling between
    the two points decide what α is told. Both are measured with the step that the optimiser of the weights would take
    now, on the first batches of the roles arch and weights, where the search's own gradient looks ahead and α moves.

    Args:
        always: Whether to measure in every search and epoch, to learn what the second order would add.
        differences: Whether to measure the cosine.
        radius: Distance of the finite difference, positive; by default that of the search, or else 0.01.
        **shared: Arguments of :class:`~robustnas.diagnostics.Diagnostic`.
    """

    on = "first batches of weights and arch, not augmented, normalised by their own statistics"

    def __init__(
        self,
        always: bool = False,
        differences: bool = False,
        radius: float | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if radius is not None:
            UnrolledByDifferences(radius)  # which refuses a bad one
        self.always, self.differences, self.radius = always, differences, radius

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        moves = search.gradient.looks_ahead and search.current_epoch >= search.arch_start
        if not (moves or self.always):
            return {}
        batch = {role: probe.batches(role, 1)[0] for role in ("arch", "weights")}
        # other processes do not measure, so that an average with them would wait for ever
        problem = replace(search.problem(batch), average=list)
        with frozen_batchnorm_statistics(search.supernet):
            direct = self._alike(search, lambda: direct_term(problem))
            whole = self._alike(search, lambda: _flat(Unrolled().of(problem)[0]))
            implicit, length = direct - whole, float(whole.norm())
            values = {IMPLICIT_SHARE.name: float(implicit.norm()) / length} if length > 0 else {}
            if self.differences:
                estimate = direct - self._alike(search, lambda: _flat(self._by_differences(search).of(problem)[0]))
                lengths = float(estimate.norm() * implicit.norm())
                if lengths > 0:
                    values[IMPLICIT_COSINE.name] = float(estimate @ implicit) / lengths
        return values

    def _alike(self, search: SearchModule, gradient: Callable[[], Tensor]) -> Tensor:
        """A gradient that meets the same random numbers as the others: drop path draws some."""
        torch.manual_seed(derived_seed(search.seed, "own", search.global_step, search.global_rank))
        return gradient()

    def _by_differences(self, search: SearchModule) -> UnrolledByDifferences:
        if self.radius is not None:
            return UnrolledByDifferences(self.radius)
        return search.gradient if isinstance(search.gradient, UnrolledByDifferences) else UnrolledByDifferences()


def direct_term(problem: Bilevel) -> Tensor:
    r""":math:`\nabla_\alpha L_\text{arch}(w', \alpha)` in one vector, with the stepped weights :math:`w'` fixed."""
    weights = {name: weight.detach().requires_grad_() for name, weight in problem.weights.items()}
    slopes = grad(problem.weight_loss(weights), list(weights.values()), materialize_grads=True)
    return _flat(slopes_in(problem.arch_loss(problem.step.take(weights, slopes)), problem.alphas))


def _flat(slopes: Sequence[Tensor]) -> Tensor:
    return torch.cat([slope.detach().flatten() for slope in slopes])
