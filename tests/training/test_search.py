"""The alternating step: who moves what, by how much, on which batch, and what stays."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import check
from pytorch_lightning import Callback, Trainer
from robustnas.variants import DARTS
from runs import SMALLEST, fit, search
from torch import Tensor

from robustnas.data import Batch
from robustnas.spaces import find_space
from robustnas.strategies import Bilevel, FirstOrder, Gradient, Step, Unrolled, UnrolledByDifferences


class EarlyStopping(Callback):
    """Calls a function before and after each step."""

    def __init__(self, before: Callable[..., Any] | None = None, after: Callable[..., Any] | None = None) -> None:
        self.before, self.after = before, after

    def on_train_batch_start(self, trainer: Trainer, module: DARTS, batch: Any, batch_idx: int) -> None:
        if self.before:
            self.before(trainer, module, batch)

    def on_train_batch_end(self, trainer: Trainer, module: DARTS, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.after:
            self.after(trainer, module, batch)


def copies(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(
    ("gradient", "space"),
    [
        (FirstOrder(), "DARTS"),
        (Unrolled(), "S2"),
        (UnrolledByDifferences(), "NASBench201"),
        (Unrolled(), "NASBench201"),
    ],
    ids=lambda part: part if isinstance(part, str) else type(part).__name__,
)
def test_a_search_moves_alpha_and_every_weight_and_ends_with_a_legal_genotype(tmp_path, space, gradient) -> None:
    module = search(space, gradient=gradient, channels=2)
    before = copies(module)
    running = fit(tmp_path, module, limit_train_batches=2)
    assert running.global_step == 2  # one counted step a batch, although two optimisers step
    after = module.state_dict()
    for kind in find_space(space).cells:
        moved = (after[f"alphas.{kind}"] - before[f"alphas.{kind}"]).abs()
        assert 0 < moved.max() < 2.1 * 3e-4  # two steps of Adam
    still = [
        name
        for name, _ in module.supernet.named_parameters()
        if after[f"supernet.{name}"].equal(before[f"supernet.{name}"])
    ]
    assert still == []
    module.genotype().validate(module.space)


def partition(module: DARTS) -> dict[str, set[str]]:
    """Names of the parameters that each optimiser holds."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    (weights, alphas), _ = module.configure_optimizers()
    return {
        kind: {names[id(parameter)] for group in optimiser.param_groups for parameter in group["params"]}
        for kind, optimiser in (("weights", weights), ("alphas", alphas))
    }


def is_right(found: dict[str, set[str]], module: DARTS) -> bool:
    everything = {name for name, _ in module.named_parameters()}
    alphas = {name for name in everything if name.startswith("alphas.")}
    return len(alphas) == len(module.space.cells) and found == {
        "weights": everything - alphas,
        "alphas": alphas,
    }


class Leaking(DARTS):
    """What users of peers ran into: α is a parameter of the module, and so in its weight optimiser."""

    def configure_optimizers(self) -> Any:
        (weights, alphas), schedules = super().configure_optimizers()
        weights.add_param_group({"params": list(self.alphas.values())})
        return [weights, alphas], schedules


@pytest.mark.parametrize("space", SMALLEST)
def test_weights_and_alphas_are_apart(tmp_path, space: str) -> None:
    module = search(space)
    running = fit(tmp_path, module, limit_train_batches=1, limit_val_batches=0)
    assert is_right(partition(module), module)
    held = [len(optimiser.param_groups[0]["params"]) for optimiser in running.optimizers]
    assert held == [len(list(module.supernet.parameters())), len(module.space.cells)]
    leaking = Leaking(channels=4, image_channels=1, **SMALLEST[space])
    fit(tmp_path, leaking, limit_train_batches=1, limit_val_batches=0)
    assert not is_right(partition(leaking), leaking)


@dataclass(frozen=True)
class Huge(Gradient):
    """A gradient of α of enormous norm."""

    def of(self, problem: Bilevel) -> tuple[list[Tensor], Tensor]:
        return [torch.full_like(alpha, 1e6) for alpha in problem.alphas], torch.zeros(())


def test_clipping_and_decay_of_the_weights_do_not_see_alpha(tmp_path) -> None:
    """The weights of a run whose α has huge gradients take the step that they take without the α step."""

    @dataclass(frozen=True)
    class Zero(Gradient):
        def of(self, problem: Bilevel) -> tuple[list[Tensor], Tensor]:
            return [torch.zeros_like(alpha) for alpha in problem.alphas], torch.zeros(())

    options = {"arch_lr": 1e-30, "arch_weight_decay": 0.0, "clip": 0.01}
    found = []
    for gradient in (Huge(), Zero()):
        module = search(gradient=gradient, **options)
        before = copies(module)
        fit(tmp_path, module, limit_train_batches=2, limit_val_batches=0)
        assert torch.equal(module.alphas["cell"], before["alphas.cell"])  # nor does SGD move α, or decay it
        found.append(copies(module.supernet))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    norm = torch.nn.utils.get_total_norm([weight.grad for weight in module.supernet.parameters()])
    check(norm, torch.tensor(0.01), rtol=1e-4)
    assert bool((search().alphas["cell"] != 0).all())  # so that decay would have been seen


def test_zero_clips_nothing(tmp_path) -> None:
    norms = []
    for clip in (0.0, 1e9):
        module = search(clip=clip)
        fit(tmp_path, module, limit_train_batches=1, limit_val_batches=0)
        norms.append(torch.nn.utils.get_total_norm([weight.grad for weight in module.supernet.parameters()]))
    assert torch.equal(*norms)
    assert norms[0] > 0.1


@pytest.mark.parametrize("order", ["arch_first", "weights_first"])
def test_the_steps_come_in_their_order_each_on_its_batch(tmp_path, order: str) -> None:
    """Replays one step by hand: plain autograd, plain optimisers."""
    seen: dict[str, Any] = {}

    def before(trainer: Trainer, module: DARTS, batch: dict[str, Batch]) -> None:
        seen.update(batch=batch, state=copies(module))

    module = search(step_order=order, clip=0.0)
    fit(tmp_path, module, limit_train_batches=1, limit_val_batches=0, callbacks=[EarlyStopping(before)])

    replay = search()
    replay.load_state_dict(seen["state"])
    weights, alphas = list(replay.supernet.parameters()), list(replay.alphas.values())
    sgd = torch.optim.SGD(weights, 0.025, 0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(alphas, 3e-4, (0.5, 0.999), weight_decay=1e-3)
    for role, optimiser in [("arch", adam), ("weights", sgd)][:: 1 if order == "arch_first" else -1]:
        batch = seen["batch"][role]
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(replay(batch.images), batch.targets).backward()
        optimiser.step()
    for name, value in replay.named_parameters():
        check(dict(module.named_parameters())[name], value, rtol=1e-4, atol=1e-6)
    other = Batch(*seen["batch"]["weights"])
    assert not torch.equal(other.images, seen["batch"]["arch"].images)


def test_the_two_orders_differ(tmp_path) -> None:
    ends = []
    for order in ("arch_first", "weights_first"):
        module = search(step_order=order)
        fit(tmp_path, module, limit_train_batches=1, limit_val_batches=0)
        ends.append(module.alphas["cell"].detach().clone())
    assert (ends[0] - ends[1]).abs().max() > 1e-7


@pytest.mark.parametrize(
    "gradient", [FirstOrder(), Unrolled(), UnrolledByDifferences()], ids=lambda g: type(g).__name__
)
def test_only_first_order_moves_running_statistics_in_the_arch_step(tmp_path, gradient: Gradient) -> None:
    """Neither weights, nor momentum, nor (where losses are taken at other weights) running statistics change."""
    changed: list[set[str]] = []

    class Watched(DARTS):
        def arch_step(self, batch: Any) -> None:
            before = copies(self)
            momentum = {w: held["momentum_buffer"].clone() for w, held in self.optimizers()[0].state.items()}
            super().arch_step(batch)
            after = self.state_dict()
            assert self.optimizers()[0].state.keys() == momentum.keys()
            for weight, held in self.optimizers()[0].state.items():
                assert torch.equal(held["momentum_buffer"], momentum[weight])
            names = {name for name in before if not torch.equal(before[name], after[name])}
            changed.append({name for name in names if not name.startswith(("means", "train_metrics"))})

    module = Watched(gradient, channels=2, image_channels=1, **SMALLEST["S2"])
    fit(tmp_path, module, limit_train_batches=2, limit_val_batches=0)
    statistics = {f"supernet.{name}" for name, _ in module.supernet.named_buffers() if not name.endswith("tracked")}
    for names in changed:
        moved = {name for name in names if not name.endswith("num_batches_tracked")}
        assert moved - statistics == {"alphas.normal", "alphas.reduce"}
        if gradient.looks_ahead:
            assert names == {"alphas.normal", "alphas.reduce"}
        else:
            assert moved >= statistics
    assert len(changed) == 2


def test_drop_path_grows_linearly_to_its_last_epoch(tmp_path) -> None:
    seen: list[tuple[int, float]] = []
    module = search(drop_path=0.3)
    module.supernet.register_forward_pre_hook(
        lambda m, args: seen.append((module.current_epoch, args[2] if len(args) > 2 else -1.0))
    )
    fit(tmp_path, module, max_epochs=4, limit_train_batches=1, limit_val_batches=1)
    trained = sorted({(epoch, round(value, 9)) for epoch, value in seen if value >= 0})
    assert trained == [(0, 0.0), (1, 0.1), (2, 0.2), (3, 0.3)]
    assert any(value < 0 for _, value in seen)  # validation drops nothing


def test_step_sizes_follow_a_cosine(tmp_path) -> None:
    lrs: list[float] = []

    def before(trainer: Trainer, module: DARTS, batch: Any) -> None:
        assert Step.of(trainer.optimizers[0], {}).lr == trainer.optimizers[0].param_groups[0]["lr"]
        assert trainer.optimizers[1].param_groups[0]["lr"] == 3e-4
        lrs.append(trainer.optimizers[0].param_groups[0]["lr"])

    module = search(channels=1)
    fit(tmp_path, module, max_epochs=10, limit_train_batches=1, limit_val_batches=0, callbacks=[EarlyStopping(before)])
    assert len(lrs) == 10
    assert lrs[0] == 0.025
    assert lrs[5] == pytest.approx(0.013, abs=1e-9)
    assert lrs == pytest.approx([0.013 + 0.012 * math.cos(math.pi * epoch / 10) for epoch in range(10)], abs=1e-9)


@pytest.mark.parametrize("gradient", [FirstOrder(), Unrolled()], ids=lambda g: type(g).__name__)
def test_bfloat16_runs_and_second_order_stays_in_full_precision(tmp_path, gradient: Gradient) -> None:
    seen: list[tuple[bool, torch.dtype, torch.dtype]] = []

    @dataclass(frozen=True)
    class Spying(type(gradient)):
        def of(self, problem: Bilevel) -> tuple[list[Tensor], Tensor]:
            gradients, loss = super().of(problem)
            seen.append((torch.is_autocast_enabled("cpu"), gradients[0].dtype, loss.dtype))
            return gradients, loss

    outputs: list[torch.dtype] = []
    module = search(gradient=Spying())
    module.supernet.register_forward_hook(lambda m, args, output: outputs.append(output.dtype))
    fit(tmp_path, module, precision="bf16-mixed", limit_train_batches=1, limit_val_batches=0)
    assert seen == [(not gradient.looks_ahead, torch.float32, torch.float32)]
    ahead = [torch.float32] * 2 if gradient.looks_ahead else [torch.bfloat16]
    assert outputs == [*ahead, torch.bfloat16]  # the weight step is in bfloat16 in any case
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
    module.genotype().validate(module.space)


def test_second_order_under_bfloat16_is_that_of_full_precision(tmp_path) -> None:
    gradients = []
    for precision in ("bf16-mixed", "32-true"):
        module = search(gradient=Unrolled())
        fit(tmp_path, module, precision=precision, limit_train_batches=1, limit_val_batches=0)
        gradients.append(module.alphas["cell"].grad)
    assert torch.equal(*gradients)


def test_gradients_of_alpha_are_those_asked_of_the_part(tmp_path) -> None:
    module = search(gradient=Huge())
    fit(tmp_path, module, limit_train_batches=1, limit_val_batches=0)
    assert bool((module.alphas["cell"].grad == 1e6).all())


def test_a_run_leaves_its_record(tmp_path: Path) -> None:
    module = search()
    running = fit(tmp_path, module, drawings=True, max_epochs=2)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    epochs = {
        f"{folder}/epoch_{k:04d}.{end}" for folder, end in (("genotypes", "json"), ("alpha", "npz")) for k in (0, 1)
    }
    assert files == {"manifest.json", "genotype.json", "genotype.svg", "genotype.png", "metrics.csv", *epochs}
    header, *lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert len(lines) == 2
    columns = {"epoch", "step", "seconds", "arch/loss", "train/loss", "train/top1", "train/top5"}
    assert set(header.split(",")) == columns | {"val/loss", "val/top1", "val/top5"}
    assert running.callback_metrics["train/loss"] > 0
