"""DARTS through each opening for methods to come is DARTS, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from runs import SMALLEST, differing, fit, state
from torch import Tensor

from robustnas import variants
from robustnas.data import Batch
from robustnas.networks import Mixture, Supernet
from robustnas.spaces import NASBench201, SearchSpace
from robustnas.strategies import (
    Adam,
    ArchOptimizer,
    FirstOrder,
    LpSparsity,
    Penalty,
    Pruning,
    Relaxation,
    ShareThreshold,
    Softmax,
    StepContext,
    Unperturbed,
    UnrolledByDifferences,
    WeightHook,
)
from robustnas.training.hooks.registry import hook_for
from robustnas.training.search_hook import SearchHook

SMALL = {**SMALLEST["NASBench201"], "channels": 4, "image_channels": 1, "arch_lr": 0.03}


def run(folder: Path, **parts: Any) -> dict[str, Tensor]:
    """The state of a short search."""
    return state(fit(folder, variants.DARTS(**{**SMALL, **parts}), max_epochs=2, limit_train_batches=3))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The state of DARTS without any part of one's own."""
    return run(tmp_path_factory.mktemp("plain"))


@dataclass(frozen=True)
class SparsityOfAlpha(Penalty):
    """LpSparsity, computed from α."""

    def of(self, alphas: Any, shares: Any, context: StepContext) -> Tensor:
        return LpSparsity().of(alphas, {kind: alpha.softmax(dim=-1) for kind, alpha in alphas.items()}, context)


@dataclass(frozen=True)
class SparsityBesideBeta(Penalty):
    """LpSparsity, and nothing of β, which it is given."""

    def of(self, alphas: Any, shares: Any, context: StepContext) -> Tensor:
        assert context.space is not None
        nothing = sum(0.0 * beta[row] for _, beta in context.betas.items() for row in range(len(beta)))
        assert context.betas.keys() == context.space.cells.keys()
        return LpSparsity().of(alphas, shares, context) + nothing


@dataclass(frozen=True)
class OwnAdam(ArchOptimizer):
    def build(self, parameters: Any, lr: float, betas: Any, weight_decay: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(list(parameters), lr=lr, betas=betas, eps=1e-8, weight_decay=weight_decay)


@dataclass(frozen=True)
class Descent(ArchOptimizer):
    def build(self, parameters: Any, lr: float, betas: Any, weight_decay: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(list(parameters), lr=lr, weight_decay=weight_decay)


@dataclass(frozen=True)
class SameInEachCell(Softmax):
    """The softmax of DARTS, asked for in each cell."""

    per_cell: ClassVar[bool] = True
    seen: list[tuple[Tensor, Mixture]] = field(default_factory=list, init=False, compare=False)

    def mixture(self, alpha: Tensor, context: StepContext) -> Mixture:
        if not self.seen or self.seen[0][0] is not alpha:
            self.seen[:] = [(alpha, super().mixture(alpha, context))]
        return self.seen[0][1]


@dataclass(frozen=True)
class OwnEdges(Softmax):
    """The start, the edge weights and the corrections of DARTS with β, each computed here."""

    def initial(self, normal: Tensor) -> Tensor:
        return normal.clone()

    def edge_weights(self, beta: Tensor) -> Tensor:
        assert beta.ndim == 1  # those of one node
        return torch.softmax(beta, 0)

    def project_alpha(self, before: Tensor, after: Tensor, context: StepContext) -> Tensor:
        return after.clone()

    def project_beta(self, after: Tensor) -> Tensor:
        return after.clone()


@dataclass(frozen=True)
class NoHook(Pruning):
    def prune(self, space: Any, shares: Any, active_mask: Any, context: StepContext) -> dict[str, Tensor]:
        return dict(active_mask)


PRUNED = ShareThreshold(0.19, 0.21)
OPENINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a penalty gets α": ({"penalty": LpSparsity()}, {"penalty": SparsityOfAlpha()}),
    "a penalty gets β": (
        {"penalty": LpSparsity(), "edge_weights": True},
        {"penalty": SparsityBesideBeta(), "edge_weights": True},
    ),
    "α's optimiser is a part": ({}, {"arch_optimizer": OwnAdam()}),
    "Adam is the default": ({}, {"arch_optimizer": Adam()}),
    "mixtures for each cell": ({}, {"relaxation": SameInEachCell()}),
    "a rule that prunes nothing": ({}, {"pruning": NoHook()}),
    "the start, the edges and the corrections are the relaxation's": (
        {"edge_weights": True, "pruning": PRUNED},
        {"edge_weights": True, "pruning": PRUNED, "relaxation": OwnEdges()},
    ),
}


@pytest.mark.parametrize("name", OPENINGS)
def test_darts_through_an_opening_is_darts(tmp_path: Path, plain: dict[str, Tensor], name: str) -> None:
    before, through = OPENINGS[name]
    expected = run(tmp_path / "before", **before) if before else plain
    assert differing(expected, run(tmp_path / "through", **through)) == []


def test_another_optimiser_moves_alpha_otherwise(tmp_path: Path, plain: dict[str, Tensor]) -> None:
    other = run(tmp_path, arch_optimizer=Descent())
    assert not torch.equal(plain["alphas.cell"], other["alphas.cell"])


def test_a_mixture_of_one_cell_counts_there_alone() -> None:
    torch.manual_seed(0)
    network, images = Supernet(NASBench201, channels=4, cells=2).double(), torch.randn(2, 3, 8, 8).double()
    uniform, other = Mixture(torch.full((6, 5), 0.2).double()), Mixture(torch.rand(6, 5).double())
    same = network(images, {"cell": uniform})
    each = {f"cell.{place}": uniform for place in range(6)}
    assert torch.equal(network(images, each), same)
    changed = network(images, {"cell": uniform, "cell.3": other})
    assert torch.equal(network(images, {**each, "cell.3": other}), changed)
    assert not torch.equal(changed, same)
    hook = network.body.ordered_cells()[3].register_forward_pre_hook(
        lambda _, given: (given[0], network.cell_weights({"cell": other})[0], *given[2:])
    )
    assert torch.equal(network(images, {"cell": uniform}), changed)
    hook.remove()
    for wrong in ({"cell.0": uniform}, {"cell": uniform, "cell.6": uniform}, {"normal": uniform}):
        with pytest.raises(ValueError, match="Expected `mixtures` for the cells \\['cell'\\]"):
            network(images, wrong)


@dataclass(frozen=True)
class OneLevel(FirstOrder):
    """Both steps see the batches of one stream."""

    streams: ClassVar[Any] = {"train": ("weights", "arch")}


@dataclass(frozen=True)
class TwoLevels(FirstOrder):
    streams: ClassVar[Any] = {"weights": ("weights",), "arch": ("arch",)}


class Seeing(variants.DARTS):
    """Notes the batches of both steps."""

    def arch_step(self, batch: Any) -> None:
        self.seen = batch
        super().arch_step(batch)


def test_streams_come_from_the_gradient(tmp_path: Path, plain: dict[str, Tensor]) -> None:
    assert differing(plain, run(tmp_path / "b", gradient=TwoLevels())) == []
    module = Seeing(**SMALL, gradient=OneLevel())
    fit(tmp_path / "c", module, max_epochs=1, limit_train_batches=2)
    assert module.training_streams == {"train": ("weights", "arch")}
    assert isinstance(module.seen["arch"], Batch)
    assert module.seen["arch"] is module.seen["weights"]


class CountingHook(SearchHook):
    """Counts epochs."""

    name = "counting"

    def __init__(self, part: Relaxation, search: Any) -> None:
        self.epochs = 0

    def end_epoch(self) -> None:
        self.epochs += 1

    def state_dict(self) -> Any:
        return {"epochs": self.epochs}

    def load_state_dict(self, state: Any) -> None:
        self.epochs = state["epochs"]


@dataclass(frozen=True)
class Counted(Unperturbed):
    """Brings a hook of its own."""


def test_a_part_brings_its_hook_and_its_state(tmp_path: Path, plain: dict[str, Tensor]) -> None:
    hook_for.register(Counted, CountingHook)
    module = variants.DARTS(**SMALL, perturbation=Counted())
    running = fit(tmp_path / "a", module, max_epochs=2, limit_train_batches=3)
    assert differing(plain, state(running)) == []
    running.save_checkpoint(tmp_path / "last.ckpt")
    other = variants.DARTS(**SMALL, perturbation=Counted())
    other.on_load_checkpoint(torch.load(tmp_path / "last.ckpt", weights_only=True))
    assert (module.hooks["counting"].epochs, other.hooks["counting"].epochs) == (2, 2)


@dataclass(frozen=True)
class Onlooker(WeightHook):
    """Sees all that a hook of the weights may see."""

    def check(self, space: SearchSpace, kinds: Any, relaxation: Relaxation, gradient: Any) -> None:
        if not gradient.watches:
            raise ValueError(f"no {kinds}")


class OnlookerHook(SearchHook):
    name = "onlooker"
    goes_back = True

    def __init__(self, part: WeightHook, search: Any) -> None:
        self.search, self.seen, self.clipped, self.norms = search, [], [], []

    def watched(self) -> list[str]:
        return ["body.stem.conv.weight", "body.classifier.bias"]

    def arch_slopes(self, slopes: Any) -> None:
        self.seen.append(dict(slopes))

    def weight_slopes(self, slopes: Any, batch: Batch, mixtures: Any) -> None:
        assert set(mixtures) == {"cell"}
        assert len(batch.targets) == 16
        self.norms.append(torch.nn.utils.get_total_norm(slopes.values()))

    def descended(self, slopes: Any) -> None:
        self.clipped.append(torch.nn.utils.get_total_norm(slopes.values()))


hook_for.register(Onlooker, OnlookerHook)


def test_a_hook_of_the_weights_sees_their_gradients_and_changes_nothing(
    tmp_path: Path, plain: dict[str, Tensor]
) -> None:
    module = variants.DARTS(**SMALL, weight_hook=Onlooker(), clip=5.0)
    assert differing(plain, state(fit(tmp_path, module, max_epochs=2, limit_train_batches=3))) == []
    hook: Any = module.hooks["onlooker"]
    assert [list(slopes) for slopes in hook.seen] == [hook.watched()] * 6
    assert all(slope.abs().max() > 0 for slopes in hook.seen for slope in slopes.values())
    limit = torch.stack(hook.norms).clamp(max=5.0)
    torch.testing.assert_close(torch.stack(hook.clipped), limit, rtol=1e-5, atol=0.0)
    with pytest.raises(ValueError, match=r"no \['cell', 'cell', 'cell'\]"):
        variants.DARTS(**SMALL, weight_hook=Onlooker(), gradient=UnrolledByDifferences())


class Resting(OnlookerHook):
    """Lets the classifier rest, and doubles the gradient of the stem."""

    def weight_slopes(self, slopes: Any, batch: Batch, mixtures: Any) -> None:
        slopes["body.stem.conv.weight"] *= 2

    def resting(self) -> Any:
        return [(self.search.supernet.body.classifier.weight, [0, 3])]


def test_a_hook_of_the_weights_changes_their_step(tmp_path: Path, plain: dict[str, Tensor]) -> None:
    found, weight = [], "supernet.body.stem.conv.weight"
    for hook in (OnlookerHook, Resting):
        module = variants.DARTS(**SMALL, weight_hook=Onlooker(), arch_start=9, momentum=0.0, weight_decay=0.0, clip=0.0)
        module.hooks["onlooker"] = hook(Onlooker(), module)
        before = {name: value.clone() for name, value in module.state_dict().items()}
        running = fit(tmp_path / hook.__name__, module, max_epochs=1, limit_train_batches=1)
        found.append({name: value - before[name] for name, value in module.state_dict().items() if name in before})
        assert running.global_step == 1
    torch.testing.assert_close(found[1][weight], 2 * found[0][weight], rtol=1e-4, atol=1e-7)
    rows = found[1]["supernet.body.classifier.weight"].abs().amax(dim=1)
    assert [bool(row) for row in rows] == [k not in (0, 3) for k in range(10)]
