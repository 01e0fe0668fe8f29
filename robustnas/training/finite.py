"""What stops a run in the middle: numbers that are not finite; and what is said of an α that no gradient reaches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robustnas.spaces import SearchSpace
from robustnas.training.processes import average

Named = Iterable[tuple[str, Tensor]]


class NotFiniteError(ValueError):
    """A number became infinite or undefined."""


class Finite:
    """Stops a run, on all processes together, at a number that is not finite, naming it and the step."""

    def __init__(self) -> None:
        self._bad: dict[str, Tensor] = {}

    def check(
        self, name: str, value: Tensor, step: int, epoch: int, last: bool, parts: Callable[[], Named] = tuple
    ) -> None:
        held = self._bad.get(name)
        if held is None:
            held = torch.full((), math.inf, device=value.device)
        self._bad[name] = held.minimum(torch.where(value.isfinite(), math.inf, torch.full_like(held, float(step))))
        if not (last or value.is_cpu or step % 50 == 0):
            return  # reading a number from a GPU makes it wait
        firsts = dict(zip(self._bad, torch.stack(list(self._bad.values())).tolist(), strict=True))
        first = min(firsts.values())
        if math.isfinite(first):
            worst = next(name for name, bad in firsts.items() if bad == first)
            part = first_bad(parts()) if (worst, first) == (name, step) else None
            where = f"at step {int(first)} (epoch {epoch}){f', in {part}' if part else ''}"
            raise NotFiniteError(
                f"Expected a finite {worst}, but got one that is not {where}. The checkpoint of the epoch before, if "
                "there is one, is still good; lower learning rates may help."
            )


def first_bad(parts: Named) -> str | None:
    """Name of the first tensor with an element that is not finite."""
    return next((name for name, tensor in parts if not bool(tensor.isfinite().all())), None)


def rows_of(space: SearchSpace, alphas: Mapping[str, Tensor]) -> Named:
    """The rows of α, or of its gradient, by the edge they belong to."""
    for kind, alpha in alphas.items():
        for edge, row in zip(space.cells[kind].edges, alpha, strict=True):
            yield f"α of the cell {kind}, edge {edge.name}", row


def norm_of(tensors: Iterable[Tensor]) -> Tensor:
    """The norm of all elements of some tensors, a scalar."""
    return nn.utils.get_total_norm([tensor.detach() for tensor in tensors])


def check_saved(module: nn.Module, optimizers: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to write a state that is not finite over a good one."""
    states = [*module.named_parameters(), *module.named_buffers()]
    for place, optimizer in enumerate(optimizers):
        for index, held in optimizer["state"].items():
            states += [(f"optimiser {place}, {name} of parameter {index}", value) for name, value in held.items()]
    found = [(name, value) for name, value in states if isinstance(value, Tensor) and value.is_floating_point()]
    if not found:
        return
    good = torch.stack([value.detach().isfinite().all().to(found[0][1].device) for _, value in found])
    if average([good.logical_not().any().float()])[0].item() > 0:
        bad = [name for (name, _), well in zip(found, good.tolist(), strict=True) if not well]
        raise NotFiniteError(
            f"Expected a finite state to save, but got one that is not in {bad[0] if bad else 'another process'}; "
            f"no checkpoint was written, and the one before, if there is one, is still good."
        )


class Unreached:
    """Says once of each row of α with a choice left that no gradient has reached it for ``patience`` steps of α."""

    def __init__(self, space: SearchSpace, patience: int = 50) -> None:
        self.space, self.patience = space, patience
        self._steps = 0
        self._last: dict[str, Tensor] = {}
        self._said: set[tuple[str, int]] = set()

    @torch.no_grad()
    def note(self, gradients: Mapping[str, Tensor]) -> None:
        """Look at the gradient of a step, without reading it."""
        self._steps += 1
        for kind, gradient in gradients.items():
            last = self._last.setdefault(kind, gradient.new_zeros(len(gradient), dtype=torch.float32))  # to 16 million
            self._last[kind] = last.where((gradient == 0).all(dim=-1), float(self._steps))

    def sentences(self, active_mask: Mapping[str, Tensor]) -> list[str]:
        """What is to be said now; each row is named once."""
        said = []
        for kind, last in self._last.items():
            edges, open_ = self.space.cells[kind].edges, active_mask[kind].sum(dim=-1) > 1
            for row, step in enumerate(last.tolist()):
                still = self._steps - int(step)
                if still >= self.patience and open_[row] and (kind, row) not in self._said:
                    self._said.add((kind, row))
                    said.append(
                        f"α of the cell {kind}, edge {edges[row].name}, had no gradient in the last {still} of "
                        f"{self._steps} architecture steps: nothing is being learnt about this edge."
                    )
        return said
