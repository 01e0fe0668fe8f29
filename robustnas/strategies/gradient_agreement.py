"""Weights of an operation stop where the gradients of training and validation no longer agree: OLES."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from robustnas.spaces import SearchSpace
from robustnas.spaces.parameter_free import PARAMETER_FREE
from robustnas.strategies.gradient import Gradient
from robustnas.strategies.relaxation import Relaxation
from robustnas.strategies.weight_hook import WeightHook


@dataclass(frozen=True)
class GradientAgreement(WeightHook):
    r"""Freeze the weights of each operation that begins to overfit, as OLES does.

    For each operation with weights, on each edge of each cell, a similarity of the validation gradient
    :math:`v = \nabla_w L_\text{arch}` and the training gradient :math:`g = \nabla_w L_\text{weights}` is noted whenever
    α steps. If the mean over an ``interval`` is below the ``threshold``, the weights of the operation stay as they are
    until the end: neither gradient, momentum nor weight decay moves them. Its α learns on. Poolings and skip
    connections, those of stride 2 too, preprocessing, stem and classifier are never frozen.

    The rule ``clean`` is that of the paper: :math:`\cos(v, g)` of all weights of the operation, both gradients at the
    same weights. The published code computes something else, which is the rule ``released``: the mean over the weight
    tensors of the operation, and over all axes of each but that of output channels :math:`o`, of

    .. math:: \cos_o (v + g,\; g) ,

    where :math:`g` is that of the weight step before, after clipping. The code does not set gradients to zero between
    the two steps, so that :math:`v` is added to :math:`g`. It also divides the sum of ``interval`` + 1 values by
    ``interval``. The paper's threshold of 0.4 and its results belong to this rule, which is the default for that
    reason: unrelated gradients of equal length give 0.71. They give 0 by the clean rule, with which 0.4 would freeze
    nearly everything; its thresholds are to be near 0.

    Values in which either gradient is zero, such as those of an operation that is not computed, are left out.

    Args:
        threshold: Smallest mean similarity at which an operation still learns, from -1, with which none is ever frozen,
            to 1.
        interval: Values between two decisions, at least 1; one more by the rule ``released``.
        rule: Which similarity, ``released`` or ``clean``.

    Raises:
        ValueError: If an argument is out of its range.

    Reference:
        Jiang et al., "Operation-Level Early Stopping for Robustifying Differentiable NAS", NeurIPS 2023.
    """

    threshold: float = 0.4
    interval: int = 20
    rule: Literal["released", "clean"] = "released"

    def __post_init__(self) -> None:
        if not -1 <= self.threshold <= 1:
            raise ValueError(f"Expected `threshold` to be between -1 and 1, but got {self.threshold}.")
        if self.interval < 1:
            raise ValueError(f"Expected `interval` to be at least 1, but got {self.interval}.")
        if self.rule not in ("released", "clean"):
            raise ValueError(f"Expected `rule` to be 'released' or 'clean', but got {self.rule!r}.")

    @property
    def window(self) -> int:
        """Values that a decision waits for."""
        return self.interval + (self.rule == "released")

    def terms(self, validation: Tensor, training: Tensor) -> Tensor:
        """Terms that add up over weight tensors, ``[3, tensors]``, of gradients ``[tensors, out_channels, ...]``."""
        v, g = validation.reshape(len(validation), -1), training.reshape(len(training), -1)
        if self.rule == "clean":
            return torch.stack([(v * g).sum(dim=1), v.square().sum(dim=1), g.square().sum(dim=1)])
        channels = (len(g), training.shape[1] if training.dim() > 1 else 1, -1)
        cosine = cosine_similarity((v + g).view(channels), g.view(channels), dim=1).mean(dim=1)
        return torch.stack([cosine, torch.ones_like(cosine), (v.any(dim=1) & g.any(dim=1)).to(cosine)])

    def similarity(self, sums: Tensor) -> tuple[Tensor, Tensor]:
        """Similarities of operations, ``[operations]``, from sums of :meth:`terms`, and whether they count."""
        product, one, other = sums
        counts = (one > 0) & (other > 0)
        divisor = one if self.rule == "released" else (one * other).sqrt()
        return torch.where(counts, product / divisor, torch.zeros_like(product)), counts

    def disagree(self, total: Tensor, count: Tensor) -> Tensor:
        """Whether operations are to freeze, boolean, by the sum of their similarities and how many there are."""
        mean = total / count.clamp(min=1) * (self.window / self.interval)
        return (count > 0) & (mean < self.threshold) & (self.threshold > -1)

    def check(self, space: SearchSpace, kinds: Sequence[str], relaxation: Relaxation, gradient: Gradient) -> None:
        name = type(self).__name__
        if not gradient.watches or len(gradient.streams) < 2:
            reason = (
                "takes the architecture loss at other weights than the present ones, or does not hand on its gradient"
                if not gradient.watches
                else "draws both steps from one stream, so that no validation gradient is there to agree with"
            )
            got = type(gradient).__name__
            raise ValueError(
                f"Expected `gradient` to be `FirstOrder` beside `{name}`, but got `{got}`, which {reason}."
            )
        if relaxation.samples:
            raise ValueError(
                f"Expected `relaxation` to compute all operations at both steps beside `{name}`, which compares their "
                f"gradients, but got `{type(relaxation).__name__}`, which samples one of each edge."
            )
        if all(name in PARAMETER_FREE for cell in space.cells.values() for e in cell.edges for name in e.operations):
            raise ValueError(
                f"Expected `space` to have operations with weights beside `{name}`, which freezes them, but got "
                f"{space.name}, which has none."
            )
