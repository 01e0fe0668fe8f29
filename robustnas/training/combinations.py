"""Parts that make no sense together: only what would train for hours to no effect is refused."""

from __future__ import annotations

from typing import Any

from robustnas.spaces import SearchSpace
from robustnas.strategies import Perturbation, Relaxation, Stopping
from robustnas.training.architecture_parameters import first_active


def check_parts(space: SearchSpace, relaxation: Relaxation, perturbation: Perturbation, stopping: Stopping) -> None:
    """Refuse parts that have nothing to do beside the others."""
    if perturbation.perturbs and _one_path(space, relaxation):
        raise ValueError(
            f"Expected `perturbation` to be `Unperturbed` beside the relaxation `{type(relaxation).__name__}`, whose "
            "weight step computes one operation of each edge with weight one, so that there is nothing to perturb, "
            f"but got `{type(perturbation).__name__}`."
        )
    stopping.check(space)


def without_effect(module: Any, epochs: int) -> list[str]:
    """What never happens in a search of so few epochs, a sentence each: no error, since such runs may be trials."""
    said = []
    start, pruning = getattr(module, "arch_start", 0), getattr(module, "pruning", None)
    if start >= epochs and module.selection.reads_alpha:
        said.append(f"α does not move before epoch {start} of {epochs}: the genotype is that of the random initial α.")
    if pruning is not None and pruning.start >= epochs:
        said.append(f"Pruning starts at epoch {pruning.start} of {epochs}: no operation leaves.")
    return said


def _one_path(space: SearchSpace, relaxation: Relaxation) -> bool:
    """Whether a weight step computes no more than one operation of each edge, where there are several."""
    active = first_active(space, relaxation)
    return active is not None and active.shape[-1] > 1 and bool((active.sum(dim=-1) <= 1).all())
