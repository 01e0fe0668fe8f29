"""Gradients of the weights of operations that the forward pass left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.func import functional_call

from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.networks.bundle import State
from robustnas.networks.normalisation import Group


@dataclass(frozen=True)
class Probe:
    """An operation that the backward pass computes on some edges of its bundle."""

    operation: nn.Module
    group: Group  # positions of the edges in the bundle
    rows: tuple[int, ...]  # rows of these edges in α
    weights: Tensor  # of the mixture there, [len(group)]
    parameters: Mapping[str, Tensor]  # of the forward pass, which may have been a functional call; not derived by
    still: bool = False  # whether running statistics stay as they are

    def output(self, images: Tensor, scale: Tensor | None) -> Tensor:
        """Output on all edges of the group, ``[batch, len(group) * channels, h, w]``."""
        # Data have a version of their own: a BatchNorm of the forward pass may still hold statistics that move here.
        buffers = {name: buffer.data for name, buffer in self.operation.named_buffers()}
        with frozen_batchnorm_statistics(self.operation) if self.still else nullcontext():
            given = {**self.parameters, **buffers}
            output: Tensor = functional_call(self.operation, given, (State(images), self.group, scale))
        return output


def probed(images: Tensor, probes: Sequence[Probe], outputs: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """Outputs of edges, by row, whose gradients now reach the weights of operations that were not computed."""
    if not probes:
        return dict(outputs)
    weights = [probe.weights for probe in probes]
    measure = _Measure(probes, list(outputs), images)
    passed = _Probing.apply(measure, images, *weights, *outputs.values())  # type: ignore[no-untyped-call]
    return dict(zip(outputs, passed, strict=True))


class _Measure:
    """What the backward pass computes, in the precision of the forward pass."""

    def __init__(self, probes: Sequence[Probe], rows: Sequence[int], images: Tensor) -> None:
        self.probes, self.rows, self.device = probes, rows, images.device.type
        self.lower, self.dtype = torch.is_autocast_enabled(self.device), torch.get_autocast_dtype(self.device)

    def __call__(self, images: Tensor, weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor | None]:
        """Gradients of the images and of the weights."""
        of_row = dict(zip(self.rows, gradients, strict=True))
        each = [[of_row[row] for row in probe.rows] for probe in self.probes]
        # What autocast remembers of a parameter here has no graph, and must not be found by a forward pass.
        with torch.autocast(self.device, self.dtype, self.lower, cache_enabled=False):
            if torch.is_grad_enabled():
                return self._to_be_derived(images, weights, each)
            return [None, *(_products(p.output(images, None), g) for p, g in zip(self.probes, each, strict=True))]

    def _to_be_derived(
        self, images: Tensor, weights: Sequence[Tensor], gradients: Sequence[Sequence[Tensor]]
    ) -> list[Tensor | None]:
        """The same with the gradient of the images, which is zero, but not where the weights move."""
        outputs = [probe.output(images, weight) for probe, weight in zip(self.probes, weights, strict=True)]
        wanted = [images, *weights] if images.requires_grad else list(weights)
        joined = [torch.cat(list(some), dim=1).to(out.dtype) for some, out in zip(gradients, outputs, strict=True)]
        found = torch.autograd.grad(outputs, wanted, joined, create_graph=True, materialize_grads=True)
        return list(found) if images.requires_grad else [None, *found]


def _products(output: Tensor, gradients: Sequence[Tensor]) -> Tensor:
    """Product of the output on each edge with the gradient there, ``[edges]``."""
    pairs = zip(output.chunk(len(gradients), dim=1), gradients, strict=True)
    dtype = torch.promote_types(output.dtype, torch.float32)
    return torch.stack([(part * gradient).sum(dtype=dtype) for part, gradient in pairs])


class _Probing(Function):
    """The outputs of edges, passed on; the weights of what is probed get their gradient here."""

    @staticmethod
    def forward(ctx: Any, measure: _Measure, images: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
        count = len(measure.probes)
        ctx.measure = measure
        ctx.save_for_backward(images, *given[:count])
        return tuple(output.view_as(output) for output in given[count:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, *weights = ctx.saved_tensors
        return None, *ctx.measure(images, weights, gradients), *gradients
