"""Genotypes of a chain, and the size of their networks."""

from __future__ import annotations

from torch import nn

from robustnas.spaces import Choice, Genotype, SearchSpace


def genotype(space: SearchSpace, *names: str) -> Genotype:
    """A chain of the operations, the last of them over and over."""
    edges = space.cells["chain"].edges
    each = [*names, *[names[-1]] * (len(edges) - len(names))]
    return Genotype(space.name, {"chain": [Choice(e.source, e.node, n) for e, n in zip(edges, each, strict=True)]})


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
