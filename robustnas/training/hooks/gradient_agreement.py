"""Notes for each operation with weights how its gradients agree, and lets those rest that disagree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robustnas.analysis.metrics import FROZEN
from robustnas.data.batch import Batch
from robustnas.networks import Mixture
from robustnas.networks.cell import Cell, EdgeOperation
from robustnas.networks.mobile import Block
from robustnas.spaces.parameter_free import PARAMETER_FREE
from robustnas.strategies import GradientAgreement
from robustnas.training.hooks.frozen_operations import resting_in
from robustnas.training.search_hook import Resting, SearchHook
from robustnas.training.search_state import SearchState


class Place(NamedTuple):
    """An operation on an edge: the number of its cell, row and column of α there."""

    cell: int
    row: int
    column: int


@dataclass
class Group:
    """Weights of one shape, which are compared together."""

    names: dict[str, nn.Parameter] = field(default_factory=dict)
    stacked: list[bool] = field(default_factory=list)  # whether a weight holds those of several operations
    numbers: list[int] = field(default_factory=list)  # of the operation of each slice

    def of(self, slopes: Mapping[str, Tensor]) -> Tensor:
        """Gradients, ``[slices, ...]``, in memory of their own; zero where there are none, since all is frozen."""
        found = [slopes[name] if name in slopes else torch.zeros_like(w) for name, w in self.names.items()]
        return torch.cat([x if stacked else x[None] for x, stacked in zip(found, self.stacked, strict=True)])


class AgreementHook(SearchHook):
    """Similarities of the gradients of every operation since the last decision, and which operations are frozen."""

    name = "gradient_agreement"
    goes_back = True

    def __init__(self, part: GradientAgreement, search: SearchState) -> None:
        self.part, self.search = part, search
        self.names = {parameter: name for name, parameter in search.supernet.named_parameters()}
        self.bundles = list(self._bundles())
        self.places = [place for _, places in self.bundles for place in places]
        self.groups = self._groups()
        self.frozen = torch.zeros(len(self.places), dtype=torch.bool)
        self.total, self.seen, self.values = torch.zeros(len(self.places)), torch.zeros(len(self.places)), 0
        self.held: list[Tensor] = []  # the gradient that waits for the other, by group
        self._resting: list[Resting] | None = None

    def _bundles(self) -> Iterator[tuple[EdgeOperation, list[Place]]]:
        for number, cell in enumerate(self.search.supernet.body.ordered_cells()):
            assert isinstance(cell, Cell | Block)
            for bundle in cell.bundles:
                if bundle.name not in PARAMETER_FREE and any(True for _ in bundle.operation.parameters()):
                    yield bundle, [Place(number, one.row, one.column) for one in bundle.candidates]

    def _groups(self) -> list[Group]:
        groups: dict[tuple[int, ...], Group] = {}
        numbers = {place: number for number, place in enumerate(self.places)}
        for bundle, places in self.bundles:
            for inside, parameter in bundle.operation.named_parameters():
                owners = [(bundle.operation.edgewise(inside, k), numbers[place]) for k, place in enumerate(places)]
                owned = [(where[1], number) for where, number in owners if where is not None]
                stacked = owned[0][0] is not None
                group = groups.setdefault(tuple(parameter.shape[stacked:]), Group())
                group.names[self.names[parameter]] = parameter
                group.stacked.append(stacked)
                group.numbers += [number for _, number in sorted(owned, key=lambda one: one[0] or 0)]
        return list(groups.values())

    def watched(self) -> Sequence[str]:
        frozen = {self.names[parameter] for parameter, slices in self.resting() if slices is None}
        return [name for group in self.groups for name in group.names if name not in frozen]

    def arch_slopes(self, slopes: Mapping[str, Tensor]) -> None:
        found = [group.of(slopes) for group in self.groups]
        if self.part.rule == "clean":
            self.held = found
        elif self.held:
            self.compare(found, self.held)

    def weight_slopes(self, slopes: dict[str, Tensor], batch: Batch, mixtures: Mapping[str, Mixture]) -> None:
        if self.part.rule == "clean" and self.held:
            self.compare(self.held, [group.of(slopes) for group in self.groups])
            self.held = []
        for parameter, slices in self.resting():  # so that they do not count where gradients are clipped
            slope = slopes[self.names[parameter]]
            slope.zero_() if slices is None else slope.index_fill_(0, torch.as_tensor(slices, device=slope.device), 0.0)

    def descended(self, slopes: Mapping[str, Tensor]) -> None:
        if self.part.rule == "released":
            self.held = [group.of(slopes) for group in self.groups]

    def compare(self, validation: Sequence[Tensor], training: Sequence[Tensor]) -> None:
        """Add the similarity of the gradients of every operation, and decide if there are enough."""
        like = validation[0]
        sums = like.new_zeros(3, len(self.places))
        for group, one, other in zip(self.groups, validation, training, strict=True):
            numbers = torch.tensor(group.numbers, device=like.device)
            sums.index_add_(1, numbers, self.part.terms(one, other.to(one)))
        similarity, counts = self.part.similarity(sums)
        self.total, self.seen = self.total.to(like) + similarity, self.seen.to(like) + counts
        self.values += 1
        if self.values >= self.part.window:  # above it where a resumed search got a shorter one
            self.frozen |= self.part.disagree(self.total, self.seen).cpu()
            self.total, self.seen, self.values = torch.zeros_like(similarity), torch.zeros_like(similarity), 0
            self._resting = None

    def resting(self) -> Sequence[Resting]:
        if self._resting is None:
            frozen = iter(self.frozen.tolist())
            found = [one for b, places in self.bundles for one in resting_in(b, [next(frozen) for _ in places])]
            self._resting = [(weight, _index(weight, slices)) for weight, slices in found]
        return self._resting

    def last_step(self, batch: Batch) -> None:
        self.search.log_numbers({FROZEN.name: float(self.frozen.sum())})

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("frozen", "total", "seen", "values", "held")}

    def load_state_dict(self, state: Any) -> None:
        if state is None:
            return
        self.frozen, self.values, self.held = state["frozen"].clone(), state["values"], list(state["held"])
        self.total, self.seen, self._resting = state["total"], state["seen"], None


def _index(weight: nn.Parameter, slices: list[int] | Tensor | None) -> Tensor | None:
    """Slices where the weight lies: a list would be copied there at every step."""
    return None if slices is None else torch.as_tensor(slices, device=weight.device)
