"""Steps of a search, broken on purpose."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from robustnas.data import roles
from robustnas.networks import Mixture, operations
from robustnas.networks.operations import Pool
from robustnas.strategies import FirstOrder, Unrolled, gumbel_one_hot
from robustnas.strategies.gradient import Step
from robustnas.training import SearchModule
from robustnas.training import search as searching

Patch = pytest.MonkeyPatch


def both_optimisers(patch: Patch) -> None:
    configure = SearchModule.configure_optimizers

    def shared(self: SearchModule) -> Any:
        optimizers, schedules = configure(self)
        optimizers[0].param_groups[0]["params"] += self.arch_parameters
        return optimizers, schedules

    patch.setattr(SearchModule, "configure_optimizers", shared)


def decayed_with_the_weights(patch: Patch) -> None:
    configure = SearchModule.configure_optimizers

    def decaying(self: SearchModule) -> Any:
        optimizers, schedules = configure(self)
        optimizers[1].param_groups[0]["weight_decay"] = self.weight_decay
        return optimizers, schedules

    patch.setattr(SearchModule, "configure_optimizers", decaying)


def clipped_together(patch: Patch) -> None:
    step, norm_of = SearchModule.weight_step, searching.norm_of

    def together(self: SearchModule, batch: Any) -> None:
        held = [a.grad for a in self.arch_parameters if a.grad is not None]
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(searching, "norm_of", lambda some: norm_of([*some, *held]))
            step(self, batch)

    patch.setattr(SearchModule, "weight_step", together)


def moved_by_the_weight_step(patch: Patch) -> None:
    step = SearchModule.weight_step

    def moving(self: SearchModule, batch: Any) -> None:
        step(self, batch)
        for a in self.arch_parameters:
            a.data *= 0.999

    patch.setattr(SearchModule, "weight_step", moving)


def first_order_twice(patch: Patch) -> None:
    of = FirstOrder.of
    patch.setattr(FirstOrder, "of", lambda self, problem: ([2 * g for g in of(self, problem)[0]], of(self, problem)[1]))


def implicit_term_flipped(patch: Patch) -> None:
    of = Unrolled.of

    def flipped(self: Unrolled, problem: Any) -> Any:
        still = {name: w.detach() for name, w in problem.weights.items()}
        slopes = torch.autograd.grad(
            problem.weight_loss(moving := {n: w.requires_grad_() for n, w in still.items()}), list(moving.values())
        )
        after = problem.step.take(problem.weights, slopes)
        direct = torch.autograd.grad(problem.arch_loss(after), problem.alphas)
        gradients, loss = of(self, problem)
        return [2 * d - g for g, d in zip(gradients, direct, strict=True)], loss

    patch.setattr(Unrolled, "of", flipped)


def rate_halved(patch: Patch) -> None:
    patch.setattr(Step, "rate", property(lambda self: self.lr / 2))


def edges_swapped(patch: Patch) -> None:
    take = operations.take
    patch.setattr(operations, "take", lambda stacked, group: take(stacked, group).flip(0))


def weight_dropped(patch: Patch) -> None:
    forward = Pool.forward
    patch.setattr(Pool, "forward", lambda self, state, group, scale: forward(self, state, group, None))


def all_paths(patch: Patch) -> None:
    patch.setattr(gumbel_one_hot, "one_path", lambda chosen, hard, ghost_gradient=False: Mixture(hard))


def roles_overlap(patch: Patch) -> None:
    split = roles.split_roles

    def overlapping(*given: Any) -> Any:
        found = split(*given)
        found["arch"] = torch.cat([found["arch"], found["weights"][:3]]).sort().values
        return found

    patch.setattr(roles, "split_roles", overlapping)
