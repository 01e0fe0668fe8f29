"""A relaxation says where α and β start and corrects them; a penalty may be one of β."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from runs import SMALLEST
from torch import Tensor

from robustnas import variants
from robustnas.strategies import Penalty, Softmax, StepContext

SMALL = {**SMALLEST["NASBench201"], "channels": 4, "image_channels": 1, "arch_lr": 0.03}


@dataclass(frozen=True)
class Twice(Softmax):
    """Starts at twice the draws, and doubles β after each step; says what it was asked to correct."""

    asked: list[Tensor] = field(default_factory=list, init=False, compare=False)

    def initial(self, normal: Tensor) -> Tensor:
        return 2 * normal

    def edge_weights(self, beta: Tensor) -> Tensor:
        return beta

    def project_alpha(self, before: Tensor, after: Tensor, context: StepContext) -> Tensor:
        self.asked.append(after)
        return after

    def project_beta(self, after: Tensor) -> Tensor:
        return 2 * after


def test_a_relaxation_says_where_it_starts_and_corrects_beta() -> None:
    shape = {"space": "S2", "layers": 3, "channels": 4, "edge_weights": True}
    one, two = variants.DARTS(**shape), variants.DARTS(**shape, relaxation=Twice())
    for kind in ("normal", "reduce"):
        assert torch.equal(two.alphas[kind], 2 * one.alphas[kind])
        assert torch.equal(two.betas[kind], 2 * one.betas[kind])
        assert two.architecture.edge_weights(kind) is not None
        assert torch.equal(two.mixtures(two.context("arch"))[kind].edges, two.betas[kind])
    two.architecture.project(two.architecture.legal_alphas(), two.context("arch"))
    assert torch.equal(two.betas["normal"], 4 * one.betas["normal"])


def test_the_relaxation_corrects_alpha_where_operations_leave() -> None:
    search = variants.DARTS(**SMALL, relaxation=Twice())
    asked, mask = search.relaxation.asked, {"cell": torch.ones(6, 5, dtype=torch.bool)}
    search.architecture.prune(mask, search.context("arch"))
    assert asked == []
    fewer = mask["cell"].clone()
    fewer[2, 3] = False
    search.architecture.prune({"cell": fewer}, search.context("arch"))
    assert len(asked) == 1
    assert asked[0].isneginf().nonzero().tolist() == [[2, 3]]


@dataclass(frozen=True)
class OfBeta(Penalty):
    def of(self, alphas: Any, shares: Any, context: StepContext) -> Tensor:
        return torch.stack([beta.square().sum() for beta in context.betas.values()]).sum()


def test_a_penalty_of_beta_reaches_beta() -> None:
    search = variants.DARTS(space="S2", layers=3, channels=4, edge_weights=True, penalty=OfBeta())
    loss = search.penalised(torch.zeros(()), search.context("arch"))
    slopes = torch.autograd.grad(loss, list(search.betas.values()))
    for slope, beta in zip(slopes, search.betas.values(), strict=True):
        assert torch.equal(slope, 2 * beta)
    alone = variants.DARTS(space="S2", layers=3, channels=4)
    assert search.context("arch").betas == {}
    assert torch.equal(alone.penalised(torch.ones(()), alone.context("arch")), torch.ones(()))
