"""The record that passes between a strategy and a network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustnas.spaces import CellSpace, Genotype, SearchSpace


@dataclass(frozen=True, eq=False)
class Mixture:
    r"""How the candidate operations of one kind of cell are weighed.

    The output of edge :math:`e` is :math:`b_e \bigl(\sum_k a_{ek}\, o_k(x) + \beta\, h_e(x) + c_e\bigr)` with
    :math:`a` the weights of the operations, :math:`b` those of the edges, :math:`c` offsets, and :math:`h_e` what the
    connection adds beside the operations, if anything.

    Args:
        operations: Weights :math:`a`, ``[edges, operations]``; rows by node then source, columns in the
            order of the edge's candidates. Columns past the candidates of an edge are ignored.
        edges: Weights :math:`b`, ``[edges]``, or ``None`` for ones.
        active: Boolean ``[edges, operations]`` on the CPU: which operations are computed. Those left out
            must have weight zero. ``None`` computes all but ``none``.
        offsets: Numbers :math:`c`, ``[edges]``, added to every element of the output of an edge, and never dropped;
            ``None`` for zeros.
        probed: Boolean ``[edges, operations]`` on the CPU: which of the operations that are not computed, and whose
            weights are zero, give their weights a gradient all the same. They are computed in the backward pass, one
            bundle after the other, and nothing of them is held in memory. ``None`` for none of them.
        auxiliary: Weight :math:`\beta` of what the connection adds. At 0 it is not computed, nor on edges of which no
            operation is computed; other numbers need a connection with an ``auxiliary`` operation.
    """

    operations: Tensor
    edges: Tensor | None = None
    active: Tensor | None = None
    offsets: Tensor | None = None
    probed: Tensor | None = None
    auxiliary: float = 0.0

    def validate(self, kind: str, cell: CellSpace) -> Mixture:
        """Return the mixture itself, or refuse it for another shape than the kind of cell wants, or wrong probes."""
        for name in ("operations", "edges", "active", "offsets", "probed"):
            tensor, shape = getattr(self, name), cell.shape[:1] if name in ("edges", "offsets") else cell.shape
            if tensor is not None and tuple(tensor.shape) != shape:
                raise ValueError(
                    f"Expected `{name}` of the mixture {kind!r} to have shape {shape}, but got {tuple(tensor.shape)}."
                )
        if self.probed is not None and (self.active is None or bool((self.probed & self.active).any())):
            raise ValueError(
                f"Expected `probed` of the mixture {kind!r} to hold no operation that is computed, but got some that "
                "`active` holds too."
            )
        return self

    def weights(self) -> Tensor:
        """Weights of the operations times those of their edges, ``[edges, operations]``."""
        return self.operations if self.edges is None else self.operations * self.edges[:, None]

    def shifts(self) -> Tensor | None:
        """Offsets times the weights of their edges, ``[edges]``; ``None`` without offsets."""
        return self.offsets if self.offsets is None or self.edges is None else self.offsets * self.edges

    def restricted(self, active_mask: Tensor) -> Mixture:
        """The same mixture with the operations of a boolean mask ``[edges, operations]``, not normalised again."""
        held = active_mask.cpu()
        edges = active_mask.any(dim=-1).to(self.operations.device)  # one that keeps none has no offset either
        return replace(
            self,
            operations=self.operations.where(active_mask.to(self.operations.device), 0.0),
            active=held if self.active is None else self.active & held,
            probed=None if self.probed is None else self.probed & held,
            offsets=None if self.offsets is None else self.offsets.where(edges, 0.0),
        )

    def detach(self) -> Mixture:
        """The same mixture, cut from the graph that made it."""
        edges, offsets = (None if held is None else held.detach() for held in (self.edges, self.offsets))
        return replace(self, operations=self.operations.detach(), edges=edges, offsets=offsets, probed=None)


def one_hot(cell: CellSpace, chosen: dict[int, int], like: Tensor) -> Mixture:
    """The mixture of a discrete cell: weight one on the chosen column of each row, nothing else computed."""
    active = torch.zeros(cell.shape, dtype=torch.bool)
    for row, column in chosen.items():
        active[row, column] = True
    return Mixture(active.to(like.device, like.dtype), active=active)


def one_hots(space: SearchSpace, genotype: Genotype, like: Tensor) -> dict[str, Mixture]:
    """The mixtures at which a supernet computes a genotype, by kind of cell, of the device and type of ``like``."""
    mixtures = {}
    for kind, cell in space.cells.items():
        rows = {(edge.source, edge.node): row for row, edge in enumerate(cell.edges)}
        active = torch.zeros(cell.shape, dtype=torch.bool)
        for source, node, operation in genotype.cells[kind]:
            row = rows[source, node]
            active[row, cell.edges[row].operations.index(operation)] = True
        mixtures[kind] = Mixture(active.to(like.device, like.dtype), active=active)
    return mixtures
