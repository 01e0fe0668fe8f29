"""Many processes: the search averages gradients itself, so that every process holds the same α and weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from robustnas.curvature import Operator


def average(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Average tensors over all processes, in one collective for each of their types."""

    def mean(flat: Tensor) -> None:
        dist.all_reduce(flat)
        flat /= dist.get_world_size()

    return _together(tensors, mean) if several() else list(tensors)


def _together(tensors: Sequence[Tensor], collective: Callable[[Tensor], object]) -> list[Tensor]:
    """Tensors after a collective of all that are of one type, each of which keeps its place."""
    found = list(tensors)
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        places = [i for i, tensor in enumerate(tensors) if tensor.dtype == dtype]
        flat = torch.cat([tensors[i].reshape(-1) for i in places])
        collective(flat)
        for i, part in zip(places, flat.split([tensors[i].numel() for i in places]), strict=True):
            found[i] = part.view_as(tensors[i])
    return found


def process() -> tuple[int, int]:
    """Number of this process, and of all of them."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def several() -> bool:
    """Whether there are other processes."""
    return process()[1] > 1


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
    for tensor, first in zip(tensors, _together(tensors, lambda flat: dist.broadcast(flat, 0)), strict=True):
        tensor.copy_(first)
