"""One level: α and the weights move along one loss of one batch and one sample, from one pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from golden import check
from pytorch_lightning import Callback
from robustnas.variants import DARTS
from runs import SMALLEST, fit, search
from torch import Tensor

from robustnas.data import Batch
from robustnas.networks import Mixture
from robustnas.strategies import (
    EntropyPenalty,
    FirstOrder,
    Gradient,
    GumbelOneHot,
    NoPenalty,
    Penalty,
    RandomPerturbation,
    Relaxation,
    SingleLevel,
    Softmax,
    StepContext,
    Unrolled,
)


@dataclass(frozen=True)
class Scaled(Penalty):
    """Multiplies the loss by a function of α, as ``ExpectedCost`` does."""

    def of(self, alphas: Any, shares: Any, context: StepContext) -> Tensor:
        return torch.stack([(share**2).sum() for share in shares.values()]).sum()

    def total(self, loss: Tensor, alphas: Any, shares: Any, context: StepContext) -> Tensor:
        return loss * (1 + self.of(alphas, shares, context))


class First(Callback):
    """Keeps the state before the first step, its batch, and how often the supernet computes in it."""

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Batch, batch_idx: int) -> None:
        self.state = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        self.batch, self.passes = batch, 0
        self.mixtures = module.mixtures(module.context("arch"))
        self.hook = module.supernet.register_forward_hook(self.count)

    def count(self, *_: Any) -> None:
        self.passes += 1

    def on_train_batch_end(self, *_: Any) -> None:
        self.hook.remove()


@pytest.mark.parametrize("penalty", [NoPenalty(), EntropyPenalty(0.5), Scaled()], ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("relaxation", [Softmax(), GumbelOneHot()], ids=lambda r: type(r).__name__)
def test_both_steps_are_those_of_one_pass(tmp_path: Path, relaxation: Relaxation, penalty: Penalty) -> None:
    """Replays a step by hand: plain autograd, plain optimisers."""
    options: dict[str, Any] = {"relaxation": relaxation, "penalty": penalty, "clip": 0.5, "arch_lr": 0.01}
    module, first = search(gradient=SingleLevel(), **options), First()
    fit(tmp_path, module, limit_train_batches=1, limit_val_batches=0, callbacks=[first])
    assert first.passes == 1
    assert isinstance(first.batch, Batch)

    replay = search(**options)
    replay.load_state_dict(first.state)
    weights, alphas = list(replay.supernet.parameters()), list(replay.alphas.values())
    sgd = torch.optim.SGD(weights, 0.025, 0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(alphas, 0.01, (0.5, 0.999), weight_decay=1e-3)
    context = replay.context("arch")  # global step 0, as in the run
    mixtures = replay.mixtures(context)
    assert torch.equal(mixtures["cell"].operations, first.mixtures["cell"].operations)
    loss = torch.nn.functional.cross_entropy(replay.supernet(first.batch.images, mixtures), first.batch.targets)
    loss.backward(retain_graph=True, inputs=weights)
    whole = penalty.total(loss, replay.architecture.legal_alphas(), replay.shares(), replace(context, epochs=1))
    whole.backward(inputs=alphas)
    torch.nn.utils.clip_grad_norm_(weights, 0.5)
    sgd.step()
    adam.step()
    for name, value in replay.named_parameters():
        check(dict(module.named_parameters())[name], value, rtol=1e-4, atol=2e-6)
    assert (module.alphas["cell"] - first.state["alphas.cell"]).abs().max() > 1e-3


def test_alpha_rests_before_its_start_and_between_its_steps(tmp_path: Path) -> None:
    moved: list[bool] = []

    class Watched(DARTS):
        def training_step(self, batch: Any, batch_idx: int) -> None:
            before = self.alphas["cell"].detach().clone()
            super().training_step(batch, batch_idx)
            moved.append(not torch.equal(before, self.alphas["cell"].detach()))

    options = {"channels": 4, "image_channels": 1, **SMALLEST["NASBench201"]}
    module = Watched(gradient=SingleLevel(), arch_start=1, arch_every=2, **options)
    fit(tmp_path, module, max_epochs=2, limit_train_batches=4, limit_val_batches=0)
    assert moved == [False] * 4 + [False, True] * 2


def test_the_stream_holds_both_roles() -> None:
    assert search(gradient=SingleLevel()).training_streams == {"train": ("weights", "arch")}


@dataclass(frozen=True)
class TwoStreams(FirstOrder):
    single_level: ClassVar[bool] = True


@dataclass(frozen=True)
class Ahead(Unrolled):
    single_level: ClassVar[bool] = True
    streams: ClassVar[Any] = SingleLevel.streams


@pytest.mark.parametrize(
    ("gradient", "got"), [(TwoStreams(), "the streams weights, arch"), (Ahead(), "one that looks ahead")]
)
def test_a_single_level_has_one_stream_and_the_current_weights(gradient: Gradient, got: str) -> None:
    with pytest.raises(ValueError, match=f"^Expected the single-level `gradient` .* one batch, but got {got}\\.$"):
        search(gradient=gradient)


def test_a_mixture_for_the_weights_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="to be `Unperturbed` beside the single-level gradient `SingleLevel`, where"):
        search(gradient=SingleLevel(), perturbation=RandomPerturbation())


def test_frozen_operations_rest_in_a_joint_step(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Skips(Softmax):
        """The second operation of each edge alone, a skip connection, with a gradient for its weight."""

        freezes_inactive: ClassVar[bool] = True

        def mixture(self, alpha: Tensor, context: StepContext) -> Mixture:
            active = torch.zeros(alpha.shape, dtype=torch.bool)
            active[:, 1] = True
            return Mixture(self.shares(alpha) * active.to(alpha), active=active)

    module = search(gradient=SingleLevel(), relaxation=Skips())
    before = {name: weight.detach().clone() for name, weight in module.supernet.named_parameters()}
    fit(tmp_path, module, limit_train_batches=2, limit_val_batches=0)
    still = {name for name, weight in module.supernet.named_parameters() if torch.equal(weight, before[name])}
    assert still == {name for name in before if ".edge." in name}
