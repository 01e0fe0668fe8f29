"""Many processes: the search averages gradients itself, so that every process holds the same α and weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from robustnas.curvature import Operator


def average(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Average tensors over all processes, in one collective for each of their types."""
    if not several():
        return list(tensors)
    averaged: list[Tensor] = list(tensors)
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        places = [i for i, tensor in enumerate(tensors) if tensor.dtype == dtype]
        flat = torch.cat([tensors[i].reshape(-1) for i in places])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for i, part in zip(places, flat.split([tensors[i].numel() for i in places]), strict=True):
            averaged[i] = part.view_as(tensors[i])
    return averaged


def process() -> tuple[int, int]:
    """Number of this process, and of all of them."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def several() -> bool:
    """Whether there are other processes."""
    return process()[1] > 1


def total(tensor: Tensor) -> None:
    """Add up a tensor over all processes, in place."""
    dist.all_reduce(tensor)


class Averaged(Operator):
    """The mean of the matrices that the processes hold; all must multiply by the same vectors."""

    def __init__(self, own: Operator) -> None:
        super().__init__(own.size, own.like)
        self.own = own

    def product(self, vector: Tensor) -> Tensor:
        return average([self.own.product(vector)])[0]


def average_buffers(module: nn.Module) -> None:
    """Average the floating-point buffers of a module over all processes, in place."""
    buffers = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
    for buffer, mean in zip(buffers, average(buffers), strict=True):
        buffer.copy_(mean)


def broadcast(tensors: Sequence[Tensor]) -> None:
    """Give all processes the tensors of the first one, in place, in one collective for each of their types."""
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        same = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.reshape(-1) for tensor in same])
        dist.broadcast(flat, 0)
        for tensor, part in zip(same, flat.split([tensor.numel() for tensor in same]), strict=True):
            tensor.copy_(part.view_as(tensor))
