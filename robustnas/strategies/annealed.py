"""A temperature that changes during the search, for any relaxation of logits."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from robustnas.networks import Mixture
from robustnas.strategies.relaxation import Relaxation, Softmax
from robustnas.strategies.step_context import StepContext


@dataclass(frozen=True)
class Annealed(Relaxation):
    r"""Another relaxation at :math:`\alpha / T(e)`, with a temperature that changes linearly over the epochs.

    .. math:: T(e) = T_0 + (T_1 - T_0)\, \frac{e}{E - 1}

    in epoch :math:`e` of :math:`E`. A temperature that falls lets the search explore at first and decide at the end.
    Penalties, selection and diagnostics get the shares at :math:`T_1` in every epoch: those at which the search will
    be discretised. With both temperatures 1 it is the relaxation itself.

    Args:
        relaxation: The relaxation whose α are divided.
        start: :math:`T_0`, positive.
        end: :math:`T_1`, positive.
    """

    relaxation: Relaxation = field(default=Softmax())
    start: float = 1.0
    end: float = 0.1

    def __post_init__(self) -> None:
        for name, temperature in (("start", self.start), ("end", self.end)):
            if not temperature > 0:
                raise ValueError(f"Expected `{name}` to be positive, but got {temperature}.")
        if self.relaxation.on_simplex:
            raise ValueError(
                "Expected `relaxation` to be one of logits, which a temperature divides, but got "
                f"`{type(self.relaxation).__name__}`, whose α are weights."
            )
        for name in ("freezes_inactive", "per_cell", "samples", "surrogate", "independent"):  # here not of the class
            object.__setattr__(self, name, getattr(self.relaxation, name))

    def temperature(self, context: StepContext) -> float:
        """The temperature of an epoch."""
        return self.start + (self.end - self.start) * context.progress

    def initial(self, normal: Tensor) -> Tensor:
        return self.relaxation.initial(normal)

    def mixture(self, alpha: Tensor, context: StepContext) -> Mixture:
        return self.relaxation.mixture(alpha / self.temperature(context), context)

    def expected(self, alpha: Tensor, context: StepContext) -> Mixture:
        return self.relaxation.expected(alpha / self.temperature(context), context)

    def shares(self, alpha: Tensor) -> Tensor:
        return self.relaxation.shares(alpha / self.end)

    def edge_weights(self, beta: Tensor) -> Tensor:
        return self.relaxation.edge_weights(beta)

    def project_alpha(self, before: Tensor, after: Tensor, context: StepContext) -> Tensor:
        temperature = self.temperature(context)
        divided = after / temperature
        corrected = self.relaxation.project_alpha(before / temperature, divided, context)
        return after + temperature * (corrected - divided)  # exactly α where nothing is corrected

    def project_beta(self, after: Tensor) -> Tensor:
        return self.relaxation.project_beta(after)
