"""Adds to the gradient of the weights what lets the cells of a kind agree on α."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torch.autograd import grad

from robustnas.data.batch import Batch
from robustnas.networks import Mixture
from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.runtime.precision import full_precision
from robustnas.strategies import LayerAlignment
from robustnas.strategies.gradient import slopes_in
from robustnas.training.processes import average
from robustnas.training.search_hook import SearchHook
from robustnas.training.search_state import SearchState

Named = Mapping[str, Tensor]
LossAt = Callable[[Named, Named], Tensor]  # of weights of operations in each cell that is aligned, and of the weights


class AlignmentHook(SearchHook):
    """Computes the regulariser at the batch and the mixtures of a weight step; it keeps no state."""

    name = "layer_alignment"

    def __init__(self, part: LayerAlignment, search: SearchState) -> None:
        self.part, self.search = part, search
        names = search.architecture.cell_names
        self.cells = {kind: names[kind] for kind in part.aligned(search.space)}

    def weight_slopes(self, slopes: dict[str, Tensor], batch: Batch, mixtures: Mapping[str, Mixture]) -> None:
        weight = self.part.weight(self.search.context("weights"))
        if weight == 0:
            return
        others = {name: mixture for name, mixture in mixtures.items() if name.partition(".")[0] not in self.cells}
        kinds = {name: kind for kind, names in self.cells.items() for name in names}
        own = {name: mixtures[name if name in mixtures else kind] for name, kind in kinds.items()}

        def loss_at(operations: Named, weights: Named) -> Tensor:
            given = {name: replace(mixture, operations=operations[name]) for name, mixture in own.items()}
            with self._same_draws():
                return self.search.loss(batch, {**others, **given}, weights)[0]

        find = self.exact if self.part.form == "exact" else self.by_differences
        with frozen_batchnorm_statistics(self.search.supernet), full_precision(self.search.device.type):
            found = find(loss_at, {name: mixture.operations.detach() for name, mixture in own.items()})
        for slope, ascent in zip(slopes.values(), found, strict=True):
            slope.sub_(ascent, alpha=weight)

    def exact(self, loss_at: LossAt, operations: Named) -> list[Tensor]:
        """The gradient of the alignment by the weights, averaged over processes."""
        weights = dict(self.search.supernet.named_parameters())
        leaves = {name: one.clone().requires_grad_() for name, one in operations.items()}
        slopes = grad(loss_at(leaves, weights), list(leaves.values()), create_graph=True, materialize_grads=True)
        directions = self._directions(leaves, slopes)
        inner = torch.stack([(s * d).sum() for s, d in zip(slopes, directions.values(), strict=True)]).sum()
        return average(slopes_in(inner, list(weights.values())))

    def by_differences(self, loss_at: LossAt, operations: Named) -> list[Tensor]:
        """The same by a central difference in the weights of operations."""
        weights = dict(self.search.supernet.named_parameters())
        leaves = {name: one.clone().requires_grad_() for name, one in operations.items()}
        fixed = {name: weight.detach() for name, weight in weights.items()}
        directions = self._directions(leaves, slopes_in(loss_at(leaves, fixed), list(leaves.values())))
        norm = torch.nn.utils.get_total_norm(directions.values())
        reach = self.part.radius / norm.clamp(min=torch.finfo(norm.dtype).tiny)

        def slope_at(distance: Tensor) -> Sequence[Tensor]:
            moved = {name: one + distance * directions[name] for name, one in operations.items()}
            return grad(loss_at(moved, weights), list(weights.values()), materialize_grads=True)

        return average([(a - b) / (2 * reach) for a, b in zip(slope_at(reach), slope_at(-reach), strict=True)])

    def _directions(self, names: Named, slopes: Sequence[Tensor]) -> dict[str, Tensor]:
        """The derivative of the alignment by the gradient at each cell, which is averaged over processes first."""
        shared = dict(zip(names, average([slope.detach() for slope in slopes]), strict=True))
        found: dict[str, Tensor] = {}
        for cells in self.cells.values():
            directions = self.part.directions(torch.stack([shared[name].flatten() for name in cells]))
            found |= {name: one.view_as(shared[name]) for name, one in zip(cells, directions, strict=True)}
        return found

    @contextmanager
    def _same_draws(self) -> Iterator[None]:
        """Draw the same numbers, such as those of drop path, in each pass, and leave those of the search alone."""
        device = self.search.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
