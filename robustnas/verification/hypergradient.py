"""Compare the gradient of α with automatic differentiation and central differences of its objective, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import grad

from robustnas.data import Batch
from robustnas.networks import Mixture
from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.strategies import FirstOrder, NoWeightHook, Unrolled, UnrolledByDifferences
from robustnas.training import SearchModule
from robustnas.verification.finding import Figure, Finding
from robustnas.verification.subject import Subject

Mixtures = Mapping[str, Mixture]

AUTODIFF_TOLERANCE = 1e-9  # relative
DIFFERENCE_TOLERANCE = 1e-6  # relative; the error of central differences themselves is about 1e-8
SIZES = (1e-6, 1e-7, 1e-8)  # step sizes, tried in this order
DIRECTIONS, ATTEMPTS = 2, 5
SEED = 0
FIELDS = ("operations", "edges", "offsets")


def check_gradient(subject: Subject) -> Finding:
    """Check the configured gradient."""
    return _check(subject, subject.search.gradient)


def check_second_order(subject: Subject) -> Finding:
    """Check the exact second-order gradient, whatever is configured."""
    if type(subject.search.gradient) is Unrolled:
        return Finding("the exact second order", says="The search uses this gradient: see the check `gradient`.")
    return _check(subject, Unrolled())


def _check(subject: Subject, rule: Any) -> Finding:
    name = type(rule).__name__
    if not isinstance(rule, (FirstOrder, Unrolled, UnrolledByDifferences)):
        return Finding(f"`{name}`", says="There is no reference for a gradient defined by the user.")
    changes: dict[str, Any] = {"gradient": rule}
    if rule is not subject.search.gradient:
        changes["weight_hook"] = NoWeightHook()  # one may refuse the other gradient, and has no part in α's
    figures, sampled = subject.in_step(_compare, **changes)
    objective = "the surrogate of the sampled mixture" if sampled else "the loss"
    after = " after a step of the weights" if rule.looks_ahead else ""
    return Finding(f"`{name}` and derivatives of {objective}{after}, in float64", figures)


def _compare(search: SearchModule, batch: Mapping[str, Batch]) -> tuple[dict[str, Figure], bool]:
    reference = _Reference(search, batch)
    found = _applied(search, batch)
    if isinstance(search.gradient, UnrolledByDifferences):
        by_formula = Figure(_distance(found, reference.by_formula(search.gradient.radius)), AUTODIFF_TOLERANCE)
        return {"error to its formula, relative": by_formula}, reference.sampled
    differentiated = Figure(_distance(found, reference.differentiated()), AUTODIFF_TOLERANCE)
    differences = Figure(reference.error_to_differences(found), DIFFERENCE_TOLERANCE)
    figures = {"error to autodiff, relative": differentiated, "error to differences, relative": differences}
    return figures, reference.sampled


def _applied(search: SearchModule, batch: Mapping[str, Batch]) -> list[Tensor]:
    """The gradients of α in a step of the search; α is restored."""
    torch.manual_seed(SEED)
    with _restored(search.arch_parameters):
        search.arch_step(batch)
        return [torch.zeros_like(a) if a.grad is None else a.grad.clone() for a in search.arch_parameters]


@contextmanager
def _restored(alphas: Sequence[Tensor]) -> Iterator[None]:
    before = [a.detach().clone() for a in alphas]
    yield
    with torch.no_grad():
        for a, value in zip(alphas, before, strict=True):
            a.copy_(value)


def _distance(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    one, other = (torch.cat([part.flatten() for part in some]) for some in (found, expected))
    return float((one - other).norm() / other.norm().clamp(min=torch.finfo(other.dtype).tiny))


class _Reference:
    """Gradient of the objective by central differences in α, or in mixtures along the surrogate's where sampled."""

    def __init__(self, search: SearchModule, batch: Mapping[str, Batch]) -> None:
        self.search, self.batch, self.alphas = search, batch, search.arch_parameters
        self.weights = {name: weight.detach() for name, weight in search.supernet.named_parameters()}
        self.held = dict(search.supernet.named_parameters())
        self.optimizer: Any = search.optimizers(use_pl_optimizer=False)[0]  # type: ignore[index]
        self.draw = torch.Generator().manual_seed(SEED)
        self.start = {kind: _computed(mixture) for kind, mixture in self._mixtures().items()}
        self.sampled = search.relaxation.surrogate or self._is_piecewise_constant()

    def differentiated(self) -> list[Tensor]:
        """The derivative by automatic differentiation, through the graph of the inner step."""
        with frozen_batchnorm_statistics(self.search.supernet):
            loss = self._objective(self._mixtures(), differentiable=True)
            found = grad(loss, self.alphas, allow_unused=True) if loss.requires_grad else [None] * len(self.alphas)
        return [torch.zeros_like(a) if g is None else g for a, g in zip(self.alphas, found, strict=True)]

    def error_to_differences(self, found: Sequence[Tensor]) -> float:
        """Relative error of a gradient along random directions: the second smallest, as differences fail at kinks."""
        length, errors = torch.cat([part.flatten() for part in found]).norm(), []
        for _ in range(ATTEMPTS):
            direction = [
                torch.randn(a.shape, dtype=torch.float64, generator=self.draw).to(a.device) for a in self.alphas
            ]
            along = float(sum((g * d).sum() for g, d in zip(found, direction, strict=True)))
            scale = float(length * torch.cat([d.flatten() for d in direction]).norm()) or 1.0
            value, error = self._along(direction), float("inf")
            for size in SIZES:
                error = min(error, abs((value(size) - value(-size)) / (2 * size) - along) / scale)
                if error <= DIFFERENCE_TOLERANCE:
                    break
            errors.append(error)
            if sum(one <= DIFFERENCE_TOLERANCE for one in errors) == DIRECTIONS:
                break
        return sorted(errors)[DIRECTIONS - 1]

    def by_formula(self, radius: float) -> list[Tensor]:
        """The finite difference of the mixed second derivative, as in the original DARTS code."""
        search, weights = self.search, {name: w.clone().requires_grad_() for name, w in self.weights.items()}
        torch.manual_seed(SEED)
        with frozen_batchnorm_statistics(search.supernet):
            loss, _ = search.loss(self.batch["weights"], self._mixtures(), weights)
            moved = self._stepped(grad(loss, list(weights.values()), materialize_grads=True))
            loss = self._arch_loss(self._mixtures(), moved)
            direct = grad(loss, [*self.alphas, *moved.values()], materialize_grads=True)
            v = dict(zip(moved, direct[len(self.alphas) :], strict=True))
            reach = radius / torch.sqrt(torch.stack([part.square().sum() for part in v.values()]).sum())
            slopes = []
            for sign in (1, -1):
                at = {name: self.weights[name] + sign * reach * v[name] for name in v}
                loss, _ = search.loss(self.batch["weights"], self._mixtures(), at)
                slopes.append(grad(loss, self.alphas, materialize_grads=True))
        return [d - self._rate() * (a - b) / (2 * reach) for d, a, b in zip(direct, *slopes, strict=False)]

    def _mixtures(self) -> Mixtures:
        return self.search.mixtures(self.search.context("arch"))

    def _is_piecewise_constant(self) -> bool:
        """Whether the mixtures do not change with α although they have a derivative."""
        with torch.no_grad(), _restored(self.alphas):
            for a in self.alphas:
                a.add_(1e-6 * torch.randn(a.shape, dtype=a.dtype, generator=self.draw).to(a.device))
            moved = self._mixtures()
        changed = any(not torch.equal(moved[kind].operations, one.operations) for kind, one in self.start.items())
        return not changed and any(one.operations.requires_grad for one in self.start.values())

    def _along(self, direction: Sequence[Tensor]) -> Callable[[float], float]:
        """The objective as a function of the distance along a direction of α."""
        slopes = {kind: _derivative(one, self.alphas, direction) for kind, one in self.start.items()}

        def value(distance: float) -> float:
            with _restored(self.alphas):
                with torch.no_grad():
                    for a, d in zip(self.alphas, direction, strict=True):
                        a.copy_(a + distance * d)
                at = self._mixtures()
                if self.sampled:
                    at = {kind: _shifted(one, slopes[kind], distance) for kind, one in self.start.items()}
                with frozen_batchnorm_statistics(self.search.supernet):
                    return float(self._objective({kind: one.detach() for kind, one in at.items()}, False).detach())

        return value

    def _objective(self, mixtures: Mixtures, differentiable: bool) -> Tensor:
        """The architecture loss at the weights that the gradient takes as optimal."""
        torch.manual_seed(SEED)
        if not self.search.gradient.looks_ahead:
            return self._arch_loss(mixtures, self.weights)
        weights = {name: w.clone().requires_grad_() for name, w in self.weights.items()}
        loss, _ = self.search.loss(self.batch["weights"], mixtures, weights)
        slopes = grad(loss, list(weights.values()), create_graph=differentiable, materialize_grads=True)
        moved = self._stepped([slope.detach() for slope in slopes])
        if differentiable:
            still = zip(moved.items(), slopes, strict=True)
            moved = {name: w.detach() - self._rate() * (slope - slope.detach()) for (name, w), slope in still}
        return self._arch_loss(mixtures, moved)

    def _arch_loss(self, mixtures: Mixtures, weights: Mapping[str, Tensor]) -> Tensor:
        search = self.search
        loss, _ = search.loss(self.batch["arch"], mixtures, weights)
        return search.penalised(loss, search.context("arch"))

    def _stepped(self, slopes: Sequence[Tensor]) -> dict[str, Tensor]:
        """The weights after a step of torch's SGD, with the optimiser state of the search."""
        group = self.optimizer.param_groups[0]
        options = {name: group[name] for name in ("lr", "momentum", "dampening", "weight_decay", "nesterov")}
        copies = {name: w.clone().requires_grad_() for name, w in self.weights.items()}
        twin = torch.optim.SGD(copies.values(), **options)
        for (name, copy), slope in zip(copies.items(), slopes, strict=True):
            copy.grad = slope.detach().clone()
            held = self.optimizer.state.get(self.held[name], {}).get("momentum_buffer")
            if held is not None:
                twin.state[copy]["momentum_buffer"] = held.clone()
        twin.step()
        return copies

    def _rate(self) -> float:
        group = self.optimizer.param_groups[0]
        return float(group["lr"] * (1 + group["momentum"] * group["nesterov"]))


def _computed(mixture: Mixture) -> Mixture:
    """The mixture with all operations active whose weights have a gradient."""
    if mixture.active is None or mixture.probed is None:
        return mixture
    return replace(mixture, active=mixture.active | mixture.probed, probed=None)


def _derivative(mixture: Mixture, alphas: Sequence[Tensor], direction: Sequence[Tensor]) -> dict[str, Tensor]:
    """Directional derivative of each tensor of a mixture, by differentiating the backward pass."""
    found = {}
    for name in FIELDS:
        value = getattr(mixture, name)
        if value is None or not value.requires_grad:
            continue
        ones = torch.zeros_like(value, requires_grad=True)
        back = grad(value, alphas, ones, create_graph=True, materialize_grads=True, retain_graph=True)
        product = torch.stack([(part * d).sum() for part, d in zip(back, direction, strict=True)]).sum()
        (found[name],) = grad(product, [ones], materialize_grads=True)
    return found


def _shifted(mixture: Mixture, slopes: Mapping[str, Tensor], distance: float) -> Mixture:
    moved: dict[str, Any] = {name: getattr(mixture, name).detach() + distance * d for name, d in slopes.items()}
    return replace(mixture, probed=None, **moved)
