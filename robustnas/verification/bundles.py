"""Compare the supernet, computed in bundles, with an edge-by-edge evaluation; count the operations computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import grad

from robustnas.data import Batch
from robustnas.networks import Mixture
from robustnas.networks.batchnorm_statistics import evaluating, frozen_batchnorm_statistics
from robustnas.networks.cell import EdgeOperation
from robustnas.strategies.step_context import Phase
from robustnas.training import SearchModule
from robustnas.verification.finding import Figure, Finding
from robustnas.verification.per_edge import edge_by_edge
from robustnas.verification.subject import Subject

TOLERANCE = 1e-10
PHASES: tuple[Phase, ...] = ("arch", "weights")


def check_bundles(subject: Subject) -> Finding:
    """Compare outputs and gradients at a random mixture, and at those of both steps."""
    errors, operations = subject.in_step(_compare)
    figures = {f"{what}, relative": Figure(value, TOLERANCE) for what, value in errors.items()}
    return Finding(f"bundles against {operations:,} operations one by one, in float64", figures)


def check_paths(subject: Subject) -> Finding:
    """A weight step computes the operations with a weight in its mixture, and no others."""
    computed, weighted, total = subject.in_step(_count)
    compared = f"operations computed in a weight step, {computed} of {total}"
    if weighted == total:
        return Finding(compared, says="The relaxation gives every operation a weight, so that all are computed.")
    return Finding(compared, {"operations computed without a weight": Figure(max(computed - weighted, 0))})


def _compare(search: SearchModule, batch: Mapping[str, Batch]) -> tuple[dict[str, float], int]:
    draw, device = torch.Generator().manual_seed(0), search.device
    images = batch["weights"].images
    target = torch.randn(
        len(images), search.description["init_args"]["num_classes"], dtype=torch.float64, generator=draw
    )
    errors = dict.fromkeys(("outputs", "outputs in evaluation", "gradients of weights", "gradients of mixtures"), 0.0)
    with frozen_batchnorm_statistics(search.supernet):
        for mixtures in (_random(search, draw), *(search.mixtures(search.context(p)) for p in PHASES)):
            at = {kind: _leaf(search, kind, mixture) for kind, mixture in mixtures.items()}
            found = _measured(search, images, at, target.to(device))
            with edge_by_edge(search.supernet, at):
                expected = _measured(search, images, at, target.to(device))
            for what, value in expected.items():
                errors[what] = max(errors[what], _error(found[what], value))
    bundles = [module for module in search.supernet.modules() if isinstance(module, EdgeOperation)]
    return errors, sum(len(one.candidates) for one in bundles)


def _random(search: SearchModule, draw: torch.Generator) -> dict[str, Mixture]:
    """A random mixture, with random edge weights where the search has β."""
    mixtures = {}
    for kind, cell in search.space.cells.items():
        operations = torch.rand(cell.shape, dtype=torch.float64, generator=draw).to(search.device)
        edges = torch.rand(cell.shape[0], dtype=torch.float64, generator=draw).to(search.device)
        mixtures[kind] = Mixture(operations, edges if kind in search.betas else None)
    return mixtures


def _leaf(search: SearchModule, kind: str, mixture: Mixture) -> Mixture:
    """The mixture as a leaf of the graph, without `noise`, which is random at every evaluation."""
    detached, quiet = replace(mixture.detach(), probed=mixture.probed), _without(search, kind, mixture, "noise")
    return replace(detached, operations=(detached.operations * quiet).requires_grad_())


def _without(search: SearchModule, kind: str, mixture: Mixture, *names: str) -> Tensor:
    """A factor of each operation, ``[edges, operations]``: zero for those of these names, one for the others."""
    factors = torch.ones_like(mixture.operations)
    for row, edge in enumerate(search.space.cells[kind].edges):
        for column, name in enumerate(edge.operations):
            factors[row, column] = float(name not in names)
    return factors


def _measured(
    search: SearchModule, images: Tensor, mixtures: Mapping[str, Mixture], target: Tensor
) -> dict[str, list[Tensor]]:
    weights = list(search.supernet.parameters())
    outputs = search.supernet(images, mixtures)
    leaves = [mixture.operations for mixture in mixtures.values()]
    slopes = grad((outputs * target).sum(), [*weights, *leaves], materialize_grads=True)
    with evaluating(search.supernet), torch.no_grad():
        evaluated = search.supernet(images, mixtures)
    of_mixtures = zip(slopes[len(weights) :], mixtures.items(), strict=True)
    return {
        "outputs": [outputs.detach()],
        "outputs in evaluation": [evaluated],
        "gradients of weights": list(slopes[: len(weights)]),
        "gradients of mixtures": [slope * _seen(search, *one) for slope, one in of_mixtures],
    }


def _seen(search: SearchModule, kind: str, mixture: Mixture) -> Tensor:
    """One where the gradient of a mixture is defined: at computed operations, without noise."""
    seen = _without(search, kind, mixture, "noise", "none")
    if mixture.active is None:
        return seen
    active = mixture.active if mixture.probed is None else mixture.active | mixture.probed
    return seen * active.to(seen.device, seen.dtype)


def _error(found: list[Tensor], expected: list[Tensor]) -> float:
    """Largest error relative to the largest entry of its tensor, or to a thousandth of the largest of all."""
    largest = max(float(one.abs().max()) for one in expected if one.numel())
    errors = [
        float((a - b).abs().max()) / max(float(b.abs().max()), 1e-3 * largest, 1e-300)
        for a, b in zip(found, expected, strict=True)
        if b.numel()
    ]
    return max(errors)


def _count(search: SearchModule, batch: Mapping[str, Batch]) -> tuple[int, int, int]:
    """The numbers of operations that a pass computes, that have a weight, and that exist."""
    mixtures = {kind: one.detach() for kind, one in search.mixtures(search.context("weights")).items()}
    kinds: dict[int, str] = {}
    for kind, cell in search.space.cells.items():
        kinds |= {id(module): kind for module in search.supernet.modules() if getattr(module, "space", None) is cell}
    computed, weighted, total = 0, 0, 0
    handles: list[Any] = []
    for owner in search.supernet.modules():
        for leaving in getattr(owner, "bundles", ()):
            operations = mixtures[kinds.get(id(owner), next(reversed(mixtures)))].operations
            nonzero = [one for one in leaving.candidates if float(operations[one.row, one.column])]
            weighted, total = weighted + len(nonzero), total + len(leaving.candidates)

            def count(module: object, given: tuple[Any, ...]) -> None:
                nonlocal computed
                computed += len(given[1])

            handles.append(leaving.operation.register_forward_pre_hook(count))
    with frozen_batchnorm_statistics(search.supernet), torch.no_grad():
        search.supernet(batch["weights"].images, mixtures)
    for handle in handles:
        handle.remove()
    return computed, weighted, total
