"""Weights with which the cells of a kind want the same architecture: Λ-DARTS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from robustnas.spaces import SearchSpace
from robustnas.strategies.gradient import Gradient
from robustnas.strategies.relaxation import Relaxation
from robustnas.strategies.step_context import StepContext
from robustnas.strategies.weight_hook import WeightHook

Measure = Literal["corr", "signcorr"]


def alignment(slopes: Tensor, measure: Measure = "corr") -> Tensor:
    r"""Mean agreement of pairs of gradients ``[cells, numbers]``, a scalar; one of zero agrees with none.

    ``corr`` is the cosine :math:`\langle g, g' \rangle / \|g\| \|g'\|`, ``signcorr`` the share of signs
    :math:`\langle g, g' \rangle / \langle |g|, |g'| \rangle`.

    Returns:
        The mean, from -1 to 1.
    """
    products = slopes @ slopes.T
    if measure == "corr":
        norms = torch.linalg.vector_norm(slopes, dim=1)
        most = norms[:, None] * norms
    else:
        most = slopes.abs() @ slopes.abs().T
    pairs = torch.triu_indices(len(slopes), len(slopes), 1, device=slopes.device)
    found, scale = products[pairs[0], pairs[1]], most[pairs[0], pairs[1]]
    return (found / torch.where(scale > 0, scale, 1)).mean()


@dataclass(frozen=True)
class LayerAlignment(WeightHook):
    r"""Train the weights so that the cells of a kind agree on α, as Λ-DARTS does (arXiv:2210.07998).

    With :math:`g_l = \partial L_\text{weights} / \partial a` at the mixture :math:`a` of cell :math:`l` of :math:`M`
    that keep the resolution (all cells, where there is one kind), the gradient of the weights gets, before clipping,

    .. math:: -\lambda_e \nabla_w R, \qquad
        R = \frac{2}{M (M - 1)} \sum_{l < m} \frac{\langle g_l, g_m \rangle}{\|g_l\| \|g_m\|}, \qquad
        \lambda_e = \lambda \frac{e}{E - 1}

    in epoch :math:`e` of :math:`E`. With :math:`p_l = \partial R / \partial g_l`, the form ``exact`` is
    :math:`\nabla_w \sum_l \langle p_l, g_l \rangle` by a second backward pass. The form ``differences`` is that of the
    published code,

    .. math:: \frac{\nabla_w L_\text{weights}(a + \epsilon p) - \nabla_w L_\text{weights}(a - \epsilon p)}
        {2 \epsilon}, \qquad \epsilon = \frac{r}{\|p\|},

    which ReLU and max pooling can make several times off. Running statistics of BatchNorm do not move in the additional
    passes of either form, while they do in the published code. The step of α is that of DARTS.

    Args:
        weight_end: :math:`\lambda`, that of the last epoch, zero or more.
        measure: How gradients are compared: ``corr``, the cosine above, or ``signcorr``, in which
            :math:`\langle |g_l|, |g_m| \rangle` takes the place of the product of norms.
        form: ``exact`` or ``differences``.
        radius: :math:`r` of the differences, positive.

    Raises:
        ValueError: If an argument is out of its range.
    """

    extra_depth = 1
    weight_end: float = 0.125
    measure: Measure = "corr"
    form: Literal["exact", "differences"] = "exact"
    radius: float = 1e-4

    def __post_init__(self) -> None:
        for name, value, known in (
            ("measure", self.measure, ("corr", "signcorr")), ("form", self.form, ("exact", "differences")),
        ):  # fmt: skip
            if value not in known:
                raise ValueError(f"Expected `{name}` to be {known[0]!r} or {known[1]!r}, but got {value!r}.")
        if not 0 <= self.weight_end < float("inf"):
            raise ValueError(f"Expected `weight_end` to be zero or more, but got {self.weight_end}.")
        if not 0 < self.radius < float("inf"):
            raise ValueError(f"Expected `radius` to be positive, but got {self.radius}.")

    def weight(self, context: StepContext) -> float:
        """The weight of the present epoch."""
        return self.weight_end * context.progress

    def directions(self, slopes: Tensor) -> Tensor:
        """The derivative of the measure by the gradients of cells, ``[cells, numbers]`` like them."""
        with torch.enable_grad():
            leaf = slopes.detach().requires_grad_()
            return torch.autograd.grad(alignment(leaf, self.measure), leaf)[0]

    def aligned(self, space: SearchSpace) -> list[str]:
        """Kinds of cell whose cells are to agree: those that keep the resolution, or the only one."""
        return [kind for kind, cell in space.cells.items() if not cell.reduction or len(space.cells) == 1]

    def check(self, space: SearchSpace, kinds: Sequence[str], relaxation: Relaxation, gradient: Gradient) -> None:
        name = type(self).__name__
        if relaxation.samples:
            raise ValueError(
                f"Expected `relaxation` to compute all operations beside `{name}`, which compares what cells want of "
                f"them, but got `{type(relaxation).__name__}`, which samples one of each edge."
            )
        if space.stages:
            raise ValueError(
                f"Expected `space` to have cells that share α beside `{name}`, which lets them agree on it, but got "
                f"{space.name}, whose blocks have an edge each of their own."
            )
        for kind in self.aligned(space):
            if (count := kinds.count(kind)) < 2:
                raise ValueError(
                    f"Expected a supernet with at least 2 cells of the kind {kind!r} beside `{name}`, which lets them "
                    f"agree, but got {count} of {len(kinds)} cells: give it more `layers`."
                )
