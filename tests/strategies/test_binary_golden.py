"""Binary gates on the original's blocks give its logits, gradients and steps of α, in each mode and for each draw."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from golden import check, golden, part, tolerance
from torch import Tensor, nn

from robustnas.networks import Mixture, operations
from robustnas.networks.cell import Candidate, Cell, CellOptions, Weights
from robustnas.spaces import CellSpace, Edge
from robustnas.strategies import BinaryGates, Moment
from robustnas.strategies.binary import Draw, rescaled

MODES = ("two", "full", "full_v2")
DRAWS = [(mode, draw) for mode in MODES for draw in range(4)]


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class MBConv(nn.Module):
    """An inverted bottleneck."""

    def __init__(self, into: int, out: int, kernel: int, expansion: int, stride: int) -> None:
        super().__init__()
        inner = into * expansion
        if expansion > 1:
            self.expand = nn.Conv2d(into, inner, 1, bias=False)
            self.expand_bn = norm(inner)
        self.depth = nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False)
        self.depth_bn = norm(inner)
        self.project = nn.Conv2d(inner, out, 1, bias=False)
        self.project_bn = norm(out)

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "expand"):
            x = F.relu6(self.expand_bn(self.expand(x)))
        return self.project_bn(self.project(F.relu6(self.depth_bn(self.depth(x)))))


class Network(nn.Module):
    """The original's two blocks, each a cell of one edge."""

    def __init__(self, arrays: dict[str, Any], meta: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        channels = meta["C"]
        self.stem, self.stem_bn = nn.Conv2d(3, channels, 3, padding=1, bias=False), norm(channels)
        self.blocks = nn.ModuleList()
        self.names: list[list[str]] = []
        for block, (out, stride) in enumerate(((channels, 1), (2 * channels, 2))):
            names = ["none" if name == "Zero" else f"MBConv_{name}" for name in meta["ops"][f"block{block}"]]
            for name in names:
                if name != "none":
                    kernel, expansion = int(name[7]), int(name[-1])
                    module = MBConv(channels, out, kernel, expansion, stride).double()
                    made = operations._UserOperation(lambda *_, module=module: module)
                    monkeypatch.setitem(operations._KNOWN, name, made)
            space = CellSpace(1, (Edge(0, 1, tuple(names)),), (1,), reduction=stride == 2)
            candidates = [Candidate(0, column, 0, 1, name) for column, name in enumerate(names)]
            self.blocks.append(Cell(space, candidates, (channels,), channels, (), CellOptions(pool_norm=False)))
            self.names.append(names)
        self.classifier = nn.Linear(2 * channels, meta["num_classes"])
        self.double().load_state_dict({self.name(key): weight for key, weight in part(arrays, "w/").items()}, False)
        assert {self.name(key) for key in part(arrays, "w/")} == {name for name, _ in self.named_parameters()}

    def name(self, theirs: str) -> str:
        """Our name of one of their weights."""
        parts = theirs.split(".")
        leaf = f"_bn.{parts.pop()}" if parts[-2] == "bn" else ".weight"
        if parts[0] == "classifier":
            return theirs
        if parts[-1] == "bn":
            parts.pop()
        if parts[0] == "stem":
            return "stem" + leaf
        _, block, operation, layer = parts
        bundles = [one.name for one in self.blocks[int(block)].bundles]
        return f"blocks.{block}.edge.{bundles.index(f'MBConv_{operation}')}.operation.each.0.{layer}{leaf}"

    def forward(self, images: Tensor, mixtures: list[Mixture]) -> Tensor:
        x = F.relu6(self.stem_bn(self.stem(images)))
        for block, (cell, mixture) in enumerate(zip(self.blocks, mixtures, strict=True)):
            found = cell((x,), Weights(mixture))
            x = x + found if block == 0 else found
        return self.classifier(x.mean(dim=(2, 3)))


def drawn(out: dict[str, Any], mode: str, block: int, width: int) -> Draw:
    """What a recorded draw looks at."""
    chosen = out[f"active/block{block}"]
    looked_at = torch.full((1, width), mode != "two")
    looked_at[0, chosen] = True
    looked_at[0, out[f"inactive/block{block}"]] = True
    if bool(out["zero_active"][block]):
        looked_at = F.one_hot(chosen, width).bool()
    return Draw(looked_at, chosen)


@pytest.mark.parametrize(("mode", "draw"), DRAWS)
def test_a_step_of_alpha_is_that_of_the_original(mode: Any, draw: int, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, meta = golden("proxyless")
    network, out = Network(arrays, meta, monkeypatch), part(arrays, f"out/{mode}/draw{draw}/")
    alphas = [arrays[f"alpha/block{b}"].clone()[None].requires_grad_() for b in range(2)]
    draws = [drawn(out, mode, b, alpha.shape[1]) for b, alpha in enumerate(alphas)]
    mixtures = [BinaryGates(mode).at(alpha, looked) for alpha, looked in zip(alphas, draws, strict=True)]
    logits = network(arrays["x_val"], mixtures)
    loss = F.cross_entropy(logits, arrays["y_val"])
    check(logits, out["logits"], **tolerance(meta, "logits, losses"))
    check(loss, out["loss"], **tolerance(meta, "logits, losses"))
    gates = [mixture.operations for mixture in mixtures]
    found = torch.autograd.grad(loss, [*gates, *alphas], materialize_grads=True)
    rates = meta["hyperparameters"]
    optimiser = torch.optim.Adam(alphas, rates["arch_lr"], tuple(map(float, rates["betas"])), rates["eps"])
    before = [alpha.detach().clone() for alpha in alphas]
    for alpha, gradient in zip(alphas, found[2:], strict=True):
        alpha.grad = gradient
    optimiser.step()
    for b, (alpha, looked) in enumerate(zip(alphas, draws, strict=True)):
        check(gates[b][0], out[f"gates/block{b}"], rtol=0, atol=0)
        check(found[b][0], out[f"grad_gates/block{b}"], **tolerance(meta, "gradients"))
        check(found[2 + b][0], out[f"grad_alpha/block{b}"], **tolerance(meta, "gradients"))
        check(alpha[0], out[f"alpha_after_adam/block{b}"], **tolerance(meta, "alphas"))
        if mode == "two":
            after = rescaled(before[b], alpha.detach(), looked.looked_at)
            check(after[0], out[f"alpha_after_rescale/block{b}"], **tolerance(meta, "alphas"))
        if bool(out["zero_active"][b]):
            assert torch.equal(found[2 + b], torch.zeros_like(alpha))


def test_the_recorded_draws_meet_every_case() -> None:
    arrays, _ = golden("proxyless")
    for mode in MODES:
        zero = torch.stack([arrays[f"out/{mode}/draw{draw}/zero_active"] for draw in range(4)])
        assert zero[:, 0].any(), mode
        assert not zero[:, 0].all(), mode


def test_a_weight_step_computes_one_path_and_has_its_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, meta = golden("proxyless")
    network, out = Network(arrays, meta, monkeypatch), part(arrays, "out/weight_step/")
    ran: list[str] = []
    for cell in network.blocks:
        for bundle in cell.bundles:
            bundle.operation.register_forward_hook(lambda *_, name=bundle.name: ran.append(name))
    mixtures = []
    for block, names in enumerate(network.names):
        chosen = out["active"][block : block + 1]
        drawn_alone = Draw(F.one_hot(chosen, len(names)).bool(), chosen)
        mixtures.append(BinaryGates().at(arrays[f"alpha/block{block}"][None], drawn_alone).detach())
    logits = network(arrays["x_val"], mixtures)
    loss = F.cross_entropy(logits, arrays["y_val"])
    check(logits, out["logits"], **tolerance(meta, "logits, losses"))
    check(loss, out["loss"], **tolerance(meta, "logits, losses"))
    assert ran == [names[int(chosen)] for names, chosen in zip(network.names, out["active"], strict=True)]
    names, weights = zip(*network.named_parameters(), strict=True)
    found = dict(zip(names, torch.autograd.grad(loss, weights, allow_unused=True), strict=True))
    expected = {network.name(key): gradient for key, gradient in part(out, "grad_w/").items()}
    for name, gradient in found.items():
        assert (gradient is None) == (name not in expected), name
        if gradient is not None:
            check(gradient, expected[name], **tolerance(meta, "gradients"))


def test_evaluation_opens_the_gates_of_the_original() -> None:
    arrays, _ = golden("proxyless")
    for block, chosen in enumerate(arrays["out/chosen_index"]):
        alpha = arrays[f"alpha/block{block}"][None]
        mixture = BinaryGates().mixture(alpha, Moment("evaluation", 0, 1, torch.Generator()))
        assert mixture.active is not None
        assert mixture.active.nonzero().tolist() == [[0, int(chosen)]]
