r"""How the validation loss reaches α.

The search minimises :math:`L_\text{arch}(w^*(\alpha), \alpha)` over α, where :math:`w^*(\alpha)` minimises
:math:`L_\text{weights}(w, \alpha)`. The answers here differ in what they take for :math:`w^*` (arXiv:1806.09055).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor
from torch.autograd import grad

from robustnas.data import Role

Weights: TypeAlias = Mapping[str, Tensor]
Loss: TypeAlias = Callable[[Weights], Tensor]


@dataclass(frozen=True)
class Step:
    r"""The step that the weight optimiser would take: SGD with momentum :math:`\mu` and weight decay λ.

    With the momentum buffer :math:`m` (zero before the first step), gradient :math:`g` and :math:`g' = g + \lambda w`,

    .. math:: w' = w - \eta (\mu m + g'), \qquad \text{or} \qquad w' = w - \eta (\mu^2 m + (1 + \mu) g')

    with Nesterov momentum. Gradients are not clipped here, as in the original.
    """

    lr: float  # η, the current one of the schedule
    momentum: float  # μ
    weight_decay: float  # λ
    nesterov: bool
    buffers: Weights  # m by name of the weight; missing ones count as zero

    @classmethod
    def of(cls, optimizer: torch.optim.Optimizer, weights: Weights) -> Step:
        """The step that an SGD optimiser would take, which holds all weights in one group."""
        state = {name: optimizer.state.get(weight, {}).get("momentum_buffer") for name, weight in weights.items()}
        buffers = {name: buffer for name, buffer in state.items() if buffer is not None}
        group = optimizer.param_groups[0]
        return cls(group["lr"], group["momentum"], group["weight_decay"], group["nesterov"], buffers)

    @property
    def rate(self) -> float:
        """How far the weights move for a unit of gradient: η, or η (1 + μ) with Nesterov momentum."""
        return self.lr * (1 + self.momentum if self.nesterov else 1)

    def take(self, weights: Weights, gradients: Sequence[Tensor]) -> dict[str, Tensor]:
        """The weights after the step; neither weights nor buffers are changed."""
        push = self.momentum**2 if self.nesterov else self.momentum
        moved = {}
        for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
            decayed = gradient.detach() + self.weight_decay * weight.detach()
            moved[name] = weight.detach() - self.rate * decayed
            if name in self.buffers:
                moved[name] -= self.lr * push * self.buffers[name]
        return moved


def _ignore(slopes: Weights) -> None:
    """Watch nothing."""


@dataclass(frozen=True)
class Bilevel:
    """The two losses of a search at its current state, as functions of weights, scalars that can be derived by α."""

    arch_loss: Loss  # on the architecture batch
    weight_loss: Loss  # on the weight batch
    weights: Weights  # the current ones by name, leaves of the graph
    alphas: Sequence[Tensor]
    step: Step  # that the weight optimiser would take
    average: Callable[[Sequence[Tensor]], list[Tensor]]  # over all processes
    watched: Sequence[str] = ()  # weights by whose gradient of the architecture loss ``watch`` is called
    watch: Callable[[Weights], object] = _ignore  # takes it by name, averaged over processes


class Gradient(ABC):
    """An answer to how the validation loss reaches α.

    Where it ``looks_ahead``, losses are taken at other weights than the current ones: running statistics of BatchNorm
    stay still, and the search computes in full precision. ``streams`` of training batches draw from roles by name; a
    single-level method has one, whose batch both steps see. Where it ``watches``, it takes the architecture loss at the
    current weights and hands the gradient by those that ``problem.watched`` names to ``problem.watch``.
    """

    looks_ahead = True
    watches = False
    streams: ClassVar[Mapping[str, tuple[Role, ...]]] = {"weights": ("weights",), "arch": ("arch",)}

    @abstractmethod
    def of(self, problem: Bilevel) -> tuple[list[Tensor], Tensor]:
        """One gradient for each of ``problem.alphas``, and the architecture loss, both averaged over processes."""


@dataclass(frozen=True)
class FirstOrder(Gradient):
    r"""The current weights count as optimal: :math:`\nabla_\alpha L_\text{arch}(w, \alpha)`."""

    looks_ahead = False
    watches = True

    def of(self, problem: Bilevel) -> tuple[list[Tensor], Tensor]:
        watched = {name: problem.weights[name] for name in problem.watched}
        loss = problem.arch_loss({name: weight.detach() for name, weight in problem.weights.items()} | watched)
        found = slopes_in(loss, [*problem.alphas, *watched.values()])
        *slopes, shared = problem.average([*found, loss.detach()])
        if watched:
            problem.watch(dict(zip(watched, slopes[len(problem.alphas) :], strict=True)))
        return slopes[: len(problem.alphas)], shared


@dataclass(frozen=True)
class Unrolled(Gradient):
    r"""The weights after one step count as optimal, and that step is differentiated exactly.

    With :math:`w'` the weights after :class:`Step`, :math:`v = \nabla_{w'} L_\text{arch}(w', \alpha)` and :math:`\eta`
    its rate,

    .. math:: \nabla_\alpha L_\text{arch}(w', \alpha)
        - \eta\, \nabla_\alpha \langle \nabla_w L_\text{weights}(w, \alpha), v \rangle .

    The mixed second derivative comes from a second backward pass, where the original takes a finite difference
    (:class:`UnrolledByDifferences`).
    """

    def of(self, problem: Bilevel) -> tuple[list[Tensor], Tensor]:
        weights = {name: weight.detach().requires_grad_() for name, weight in problem.weights.items()}
        slopes = grad(problem.weight_loss(weights), list(weights.values()), create_graph=True, materialize_grads=True)
        loss, direct, v = _at_step(problem, problem.average([slope.detach() for slope in slopes]))
        inner = torch.stack([(slope * vector).sum() for slope, vector in zip(slopes, v, strict=True)]).sum()
        mixed = problem.average(grad(inner, problem.alphas, materialize_grads=True))
        return [d - problem.step.rate * m for d, m in zip(direct, mixed, strict=True)], loss


@dataclass(frozen=True)
class UnrolledByDifferences(Gradient):
    r"""As :class:`Unrolled`, with the finite difference of the original DARTS in place of the second derivative.

    .. math:: \frac{\nabla_\alpha L_\text{weights}(w + R v, \alpha) - \nabla_\alpha L_\text{weights}(w - R v, \alpha)}
        {2R}, \qquad R = \frac{r}{\|v\|_2},

    with one norm over all weights. With ReLU and max pooling, whose linear pieces differ at the two points, this can be
    several times off.

    Args:
        radius: :math:`r`, positive; 0.01 in the original.
    """

    radius: float = 0.01

    def __post_init__(self) -> None:
        if not self.radius > 0:
            raise ValueError(f"Expected `radius` to be positive, but got {self.radius}.")

    def of(self, problem: Bilevel) -> tuple[list[Tensor], Tensor]:
        weights = {name: weight.detach().requires_grad_() for name, weight in problem.weights.items()}
        slopes = grad(problem.weight_loss(weights), list(weights.values()), materialize_grads=True)
        loss, direct, v = _at_step(problem, problem.average(slopes))
        norm = torch.nn.utils.get_total_norm(v)
        reach = self.radius / norm.clamp(min=torch.finfo(norm.dtype).tiny)

        def slope_at(distance: Tensor) -> Sequence[Tensor]:
            moved = {name: w.detach() + distance * u for (name, w), u in zip(problem.weights.items(), v, strict=True)}
            return slopes_in(problem.weight_loss(moved), problem.alphas)

        mixed = problem.average([(a - b) / (2 * reach) for a, b in zip(slope_at(reach), slope_at(-reach), strict=True)])
        return [d - problem.step.rate * m for d, m in zip(direct, mixed, strict=True)], loss


def slopes_in(loss: Tensor, alphas: Sequence[Tensor]) -> Sequence[Tensor]:
    """The gradient by α; zeros where a sampled network passes nothing on, and no α reaches the loss."""
    return grad(loss, alphas, materialize_grads=True) if loss.requires_grad else [torch.zeros_like(a) for a in alphas]


def _at_step(problem: Bilevel, slopes: Sequence[Tensor]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Architecture loss after a step along ``slopes``, with its gradients by α and by the weights."""
    moved = {name: weight.requires_grad_() for name, weight in problem.step.take(problem.weights, slopes).items()}
    loss = problem.arch_loss(moved)
    found = grad(loss, [*problem.alphas, *moved.values()], materialize_grads=True)
    *averaged, shared = problem.average([*found, loss.detach()])
    count = len(problem.alphas)
    return shared, averaged[:count], averaged[count:]
