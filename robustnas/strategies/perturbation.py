r"""At which mixture the weights are trained.

The perturbations here act on the weights of operations :math:`a`, not on α, and keep each row on the simplex
(arXiv:2002.05283).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustnas.networks import Mixture
from robustnas.strategies.gradient import slopes_in
from robustnas.strategies.step_context import StepContext

Mixtures = Mapping[str, Mixture]
LossAt = Callable[[Mixtures], Tensor]
Average = Callable[[Sequence[Tensor]], list[Tensor]]


class Perturbation(ABC):
    """The step from the mixture of α to the mixture at which the weights are trained."""

    measures = True  # whether losses are asked for; meanwhile the network moves no running statistics and drops no path
    perturbs = True  # whether mixtures are changed at all

    @abstractmethod
    def perturb(self, mixtures: Mixtures, loss_at: LossAt, context: StepContext, average: Average) -> Mixtures:
        """The mixtures at which the weights descend, the same on every process.

        Args:
            mixtures: Kind of cell to its mixture, cut from the graph of α.
            loss_at: The loss on the batch of the weight step at given mixtures, a scalar, of the network in evaluation.
            context: The step the mixtures serve.
            average: Averages a list of tensors over all processes, each of which has a batch of its own.
        """


@dataclass(frozen=True)
class Unperturbed(Perturbation):
    """The weights are trained at the mixture itself, as DARTS does."""

    measures = False
    perturbs = False

    def perturb(self, mixtures: Mixtures, loss_at: LossAt, context: StepContext, average: Average) -> Mixtures:
        return mixtures


@dataclass(frozen=True)
class RandomPerturbation(Perturbation):
    r"""Uniform noise on every weight of an operation, a new one at each step: SDARTS-RS (arXiv:2002.05283).

    .. math:: a' = P(a + \delta), \qquad \delta \sim U(-\epsilon, \epsilon), \qquad
        \epsilon(e) = \epsilon_0 + (\epsilon_1 - \epsilon_0)\, e / E

    in epoch :math:`e` of :math:`E`, where :math:`P` returns to the simplex: it clamps a row to :math:`[0, 1]`, sets the
    largest entry of a row of zeros to one, and divides by the sum, which can leave the box of :math:`\epsilon`. Weights
    of edges and weights that are zero stay: these belong to no candidate, or to one that is not computed.

    Args:
        radius_start: :math:`\epsilon_0`, from 0 to 1.
        radius_end: :math:`\epsilon_1`, from 0 to 1, approached but not reached in the last epoch.
    """

    measures = False
    radius_start: float = 0.03
    radius_end: float = 0.3

    def __post_init__(self) -> None:
        _check_radii(self.radius_start, self.radius_end)

    def perturb(self, mixtures: Mixtures, loss_at: LossAt, context: StepContext, average: Average) -> Mixtures:
        return _at(mixtures, _shaken(mixtures, _radius(self.radius_start, self.radius_end, context), context))


@dataclass(frozen=True)
class AdversarialPerturbation(Perturbation):
    r"""The weights of operations that are worst for the batch, found by ascent: SDARTS-ADV (arXiv:2002.05283).

    From a random start as in :class:`RandomPerturbation`, with the same :math:`P` and :math:`\epsilon`, each of
    :math:`n` steps is

    .. math:: a' \leftarrow P\big(\mathrm{clamp}(a' + \tfrac{2\epsilon}{n}\,
        \mathrm{sign}\,\nabla_{a'} L_\text{weights}(w, a'),\; a - \epsilon,\; a + \epsilon)\big).

    If the loss is lower at the end than at :math:`a`, the result is :math:`a`. All losses are those of the network in
    evaluation. A weight step costs :math:`n + 1` passes forward and :math:`n` backward more, and one forward for the
    comparison.

    Args:
        radius_start: :math:`\epsilon_0`, from 0 to 1.
        radius_end: :math:`\epsilon_1`, from 0 to 1, approached but not reached in the last epoch.
        steps: :math:`n`, at least 1.
    """

    radius_start: float = 0.03
    radius_end: float = 0.3
    steps: int = 7

    def __post_init__(self) -> None:
        _check_radii(self.radius_start, self.radius_end)
        if self.steps < 1:
            raise ValueError(f"Expected `steps` to be at least 1, but got {self.steps}.")

    def perturb(self, mixtures: Mixtures, loss_at: LossAt, context: StepContext, average: Average) -> Mixtures:
        radius = _radius(self.radius_start, self.radius_end, context)
        moved = _shaken(mixtures, radius, context)
        device = next(iter(moved.values())).device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):  # operations may draw
            for _ in range(self.steps):
                leaves = {kind: operations.requires_grad_() for kind, operations in moved.items()}
                loss = loss_at(_at(mixtures, leaves))
                slopes = average(slopes_in(loss, list(leaves.values())))
                moved = self._step(mixtures, moved, slopes, radius)
            with torch.no_grad():
                before, after = average([loss_at(mixtures), loss_at(_at(mixtures, moved))])
        kept = {kind: torch.where(after < before, mixtures[kind].operations, found) for kind, found in moved.items()}
        return _at(mixtures, kept)

    def _step(
        self, mixtures: Mixtures, moved: Mapping[str, Tensor], slopes: Sequence[Tensor], radius: float
    ) -> dict[str, Tensor]:
        """Weights of operations after a step of ascent, by kind of cell."""
        result = {}
        for (kind, mixture), slope in zip(mixtures.items(), slopes, strict=True):
            stepped = moved[kind].detach() + 2 * radius / self.steps * slope.sign()
            boxed = stepped.clamp(mixture.operations - radius, mixture.operations + radius)
            result[kind] = _on_simplex(boxed, mixture)
        return result


def _check_radii(start: float, end: float) -> None:
    for name, radius in (("radius_start", start), ("radius_end", end)):
        if not 0 <= radius <= 1:
            raise ValueError(f"Expected `{name}` to be between 0 and 1, but got {radius}.")


def _radius(start: float, end: float, context: StepContext) -> float:
    return start + (end - start) * context.epoch / context.epochs


def _noise(like: Tensor, radius: float, generator: torch.Generator) -> Tensor:
    drawn = torch.rand(like.shape, generator=generator, dtype=like.dtype, device=generator.device)
    return radius * (2 * drawn.to(like.device) - 1)


def _shaken(mixtures: Mixtures, radius: float, context: StepContext) -> dict[str, Tensor]:
    """Weights of operations with noise, back on the simplex, by kind of cell."""
    return {
        kind: _on_simplex(mixture.operations + _noise(mixture.operations, radius, context.generator), mixture)
        for kind, mixture in mixtures.items()
    }


def _on_simplex(moved: Tensor, mixture: Mixture) -> Tensor:
    """Rows on the simplex, ``[edges, operations]``, zero where the mixture is."""
    held = mixture.operations != 0
    if mixture.active is not None:
        held &= mixture.active.to(held.device)
    clamped = moved.clamp(0, 1).where(held, 0)
    largest = moved.masked_fill(~held, -torch.inf).argmax(dim=-1, keepdim=True)
    empty = (clamped == 0).all(dim=-1, keepdim=True)
    filled = clamped.scatter(-1, largest, 1).where(empty & held, clamped)
    total = filled.sum(dim=-1, keepdim=True)
    return filled / total.where(total > 0, 1)  # nothing of an edge may be computed


def _at(mixtures: Mixtures, operations: Mapping[str, Tensor]) -> dict[str, Mixture]:
    return {kind: replace(mixture, operations=operations[kind]) for kind, mixture in mixtures.items()}
