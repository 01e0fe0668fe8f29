"""Check that each step updates its own parameters only: α and β, or the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from robustnas.data import Batch
from robustnas.strategies import StepContext
from robustnas.strategies.step_context import Phase
from robustnas.training import SearchModule
from robustnas.verification.finding import Figure, Finding
from robustnas.verification.subject import Subject


def check_partition(subject: Subject) -> Finding:
    """Every parameter is in its optimiser only, and a step changes its own parameters only, whatever the gradients."""
    misplaced, decayed, moved, idle, affected = subject.in_step(_measure)
    figures = {
        "parameters not in exactly their optimiser": Figure(len(misplaced)),
        "groups of α with a wrong weight decay": Figure(decayed),
        "parameters changed by the wrong step": Figure(len(moved)),
        "steps without effect": Figure(len(idle)),
        "weights whose step depends on the gradient of α": Figure(len(affected)),
    }
    search = subject.search
    sets = (search.alphas.values(), search.betas.values(), search.supernet.parameters())
    counts = [sum(one.numel() for one in some) for some in sets]
    compared = f"{counts[0]:,} parameters of α, {counts[1]:,} of β, {counts[2]:,} weights; both steps in float64"
    return Finding(compared, figures, ", ".join([*misplaced, *moved, *idle, *affected][:3]))


def _measure(
    search: SearchModule, batch: Mapping[str, Batch]
) -> tuple[list[str], int, list[str], list[str], list[str]]:
    names = {id(parameter): name for name, parameter in search.named_parameters()}
    arch = {id(parameter) for parameter in search.arch_parameters}
    optimizers: Any = search.optimizers(use_pl_optimizer=False)
    held = [[id(one) for group in optimizer.param_groups for one in group["params"]] for optimizer in optimizers]
    places = {key: [int(key not in arch), int(key in arch)] for key in names}  # how often each optimiser should have it
    misplaced = [name for key, name in names.items() if [some.count(key) for some in held] != places[key]]
    decayed = sum(
        group["weight_decay"] != search.arch_weight_decay
        for optimizer in optimizers
        for group in optimizer.param_groups
        if any(id(one) in arch for one in group["params"])
    )
    moved, idle = [], []
    steps = [(search.weight_step, set(names) - arch), (search.arch_step, arch)]
    steps += [(search.joint_step, set(names))] if search.gradient.single_level else []
    for step, own in steps:
        changed = _changed(search, step, batch)
        moved += [names[key] for key in changed - own]
        idle += [] if changed & own else [step.__name__]
    context = search.context("weights")
    seed = context.generator.initial_seed()  # the generator depends on the step

    def same(phase: Phase) -> StepContext:
        return replace(context, generator=torch.Generator().manual_seed(seed))

    search.context = same  # type: ignore[method-assign]
    one, other = (_weights_after(search, batch, optimizers[0], slope) for slope in (None, 1e6))
    return misplaced, decayed, moved, idle, [name for name in one if not torch.equal(one[name], other[name])]


def _changed(search: SearchModule, step: Callable[[Mapping[str, Batch]], None], batch: Mapping[str, Batch]) -> set[int]:
    """The parameters that a step changes if all gradients are large before it."""
    before: dict[int, Tensor] = {}
    for parameter in search.parameters():
        before[id(parameter)] = parameter.detach().clone()
        parameter.grad = torch.full_like(parameter, 1e3)
    step(batch)
    return {id(one) for one in search.parameters() if not torch.equal(one.detach(), before[id(one)])}


def _weights_after(
    search: SearchModule, batch: Mapping[str, Batch], optimizer: Any, slope: float | None
) -> dict[str, Tensor]:
    """The weights after a step with a given gradient left in α; the step is undone."""
    before = {name: tensor.clone() for name, tensor in search.state_dict().items() if isinstance(tensor, Tensor)}
    held = copy.deepcopy(optimizer.state_dict())
    for a in search.arch_parameters:
        a.grad = None if slope is None else torch.full_like(a, slope)
    torch.manual_seed(0)
    search.weight_step(batch)
    after = {name: weight.detach().clone() for name, weight in search.supernet.named_parameters()}
    search.load_state_dict(before, strict=False)
    optimizer.load_state_dict(held)
    return after
