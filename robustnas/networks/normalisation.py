"""BatchNorm for a bundle of edges, with the mixture weight as its scale."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustnas.networks.batchnorm_derivatives import untracked_batch_norm

Group = tuple[int, ...]


class BundleNorm(nn.Module):
    """BatchNorm of every edge of a bundle, channels stacked edge by edge, times the weight of the mixture there."""

    running_mean: Tensor
    running_var: Tensor
    __call__: Callable[..., Tensor]

    def __init__(self, edges: int, channels: int, affine: bool, eps: float = 1e-5) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(edges, channels))
        self.register_buffer("running_var", torch.ones(edges, channels))
        self.weight = nn.Parameter(torch.ones(edges, channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(edges, channels)) if affine else None
        self.eps, self.momentum, self.batch_statistics, self.tracking = eps, 0.1, False, True
        self.derived_twice = False  # whether that is to be expected, and made cheap

    def forward(self, x: Tensor, group: Group, scale: Tensor | None = None) -> Tensor:
        weight, bias = self._scale(group, scale)
        if self.training:
            return self._with_batch_statistics(x, group, weight, bias)
        if self.batch_statistics:
            return F.batch_norm(x, None, None, weight, bias, training=True, eps=self.eps)
        mean, var = self.running_mean[list(group)].flatten(), self.running_var[list(group)].flatten()
        return F.batch_norm(x, mean, var, weight, bias, eps=self.eps)

    def _scale(self, group: Group, scale: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        spread = None if scale is None else scale[:, None].expand(-1, self.running_mean.shape[1]).flatten().contiguous()
        if self.weight is None or self.bias is None:
            return spread, None
        weight, bias = (take(parameter, group).flatten() for parameter in (self.weight, self.bias))
        return (weight, bias) if spread is None else (weight * spread, bias * spread)

    def _with_batch_statistics(self, x: Tensor, group: Group, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        if self.derived_twice:
            return untracked_batch_norm(x, weight, bias, self.eps)
        mean, var = take(self.running_mean, group), take(self.running_var, group)
        if not self.tracking:
            mean, var = mean.clone(), var.clone()
        result = F.batch_norm(x, mean.view(-1), var.view(-1), weight, bias, True, self.momentum, self.eps)
        if self.tracking and 1 < len(group) < len(self.running_mean):  # a copy was updated, not a view
            self.running_mean[list(group)], self.running_var[list(group)] = mean, var
        return result


def take(stacked: Tensor, group: Group) -> Tensor:
    """The slices of ``group`` along the first dimension; a view for one slice and for all of them."""
    if len(group) == 1:
        return stacked[group[0] : group[0] + 1]
    return stacked if len(group) == len(stacked) else stacked[list(group)]
