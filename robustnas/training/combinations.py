r"""Which parts make no sense together.

Parts answer independent questions, and nearly all answers go together. What is refused here would train for hours to
no effect. Some that may look odd are allowed:

- β in a space whose nodes keep all edges selects nothing, but still weighs edges while operations are compared.
- ``Unrolled`` with a sampled relaxation: both losses of a step see one sample, and the gradient is that of the sampled
  network, through the same straight-through derivative.
- ``CurvatureRise`` with a sampled relaxation measures the curvature of the straight-through surrogate at one sample
  of fixed random numbers,
  which grows like :math:`\tau^{-2}` as the temperature of ``GumbelOneHot`` falls: hold τ, or read it with care.
- ``Sparsemax`` with a perturbation: only operations in the support are moved.
- ``SkipDominance`` with a number that no genotype exceeds never stops, but counts.
"""

from __future__ import annotations

from typing import Any

import torch

from robustnas.spaces import SearchSpace
from robustnas.strategies import Perturbation, Relaxation, StepContext, Stopping
from robustnas.training.architecture_parameters import equal_alpha


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
    """What never happens in a search of so few epochs, a sentence each.

    That is no error: such runs are trials, or keep α on purpose for a selection that does not read it.

    Args:
        module: A search, or another module, of which nothing is said.
        epochs: Epochs of the search.

    Returns:
        The sentences.
    """
    said = []
    start, pruning = getattr(module, "arch_start", 0), getattr(module, "pruning", None)
    if start >= epochs and module.selection.reads_alpha:
        said.append(f"α does not move before epoch {start} of {epochs}: the genotype is that of the random initial α.")
    if pruning is not None and pruning.start >= epochs:
        said.append(f"Pruning starts at epoch {pruning.start} of {epochs}: no operation leaves.")
    return said


def _one_path(space: SearchSpace, relaxation: Relaxation) -> bool:
    """Whether a weight step computes no more than one operation of each edge, where there are several."""
    active = relaxation.mixture(
        equal_alpha(space), StepContext("weights", 0, 1, torch.Generator().manual_seed(0))
    ).active
    return active is not None and active.shape[-1] > 1 and bool((active.sum(dim=-1) <= 1).all())
