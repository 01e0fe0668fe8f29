"""Binary gates on the original's blocks give its logits, gradients and steps of α, in each mode and for each draw."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from golden import check, golden, part, tolerance
from torch import Tensor, nn

from robustnas.networks import Mixture, SupernetConfig, operations
from robustnas.networks.cell import Candidate, MixtureWeights
from robustnas.networks.mobile import Block
from robustnas.networks.operations import MBConv
from robustnas.strategies import BinaryGates, StepContext
from robustnas.strategies.binary_gates import Draw, rescaled

MODES = ("two", "full", "full_v2")
DRAWS = [(mode, draw) for mode in MODES for draw in range(4)]


CONFIG = SupernetConfig(affine=True, pool_norm=False)


class Network(nn.Module):
    """The original's two blocks, as this library builds them, between a stem and a classifier."""

    def __init__(self, arrays: dict[str, Any], meta: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        channels = meta["C"]
        self.stem, self.stem_bn = nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels, eps=1e-3)
        self.blocks = nn.ModuleList()
        self.names: list[list[str]] = []
        for block, (out, stride) in enumerate(((channels, 1), (2 * channels, 2))):
            names = [ours(name) for name in meta["ops"][f"block{block}"]]
            for size, expansion in (map(int, re.findall(r"\d+", name)[1:]) for name in names if name != "none"):
                made = partial(MBConv, size=size, expansion=expansion)  # most have another expansion than our spaces
                monkeypatch.setitem(operations._KNOWN, f"mbconv_{size}x{size}_{expansion}", made)
            candidates = [Candidate(0, column, 0, 1, name) for column, name in enumerate(names)]
            self.blocks.append(Block(candidates, channels, out, stride, block == 0, CONFIG))
            self.names.append(names)
        self.classifier = nn.Linear(2 * channels, meta["num_classes"])
        self.double().load_state_dict(
            {
                self.name(key): weight.reshape(self.get_parameter(self.name(key)).shape)
                for key, weight in part(arrays, "w/").items()
            },
            strict=False,
        )
        assert {self.name(key) for key in part(arrays, "w/")} == {name for name, _ in self.named_parameters()}

    def name(self, theirs: str) -> str:
        """Our name of one of their weights."""
        parts = theirs.split(".")
        if parts[0] == "classifier":
            return theirs
        if parts[0] == "stem":
            return f"stem_bn.{parts[-1]}" if parts[1] == "bn" else "stem.weight"
        _, block, operation, layer, *rest = parts
        bundles = [one.name for one in self.blocks[int(block)].bundles]
        leaf = f"{layer}_bn.{rest[-1]}" if rest else layer
        return f"blocks.{block}.edge.{bundles.index(ours(operation))}.operation.{leaf}"

    def forward(self, images: Tensor, mixtures: list[Mixture]) -> Tensor:
        x = F.relu6(self.stem_bn(self.stem(images)))
        for block, mixture in zip(self.blocks, mixtures, strict=True):
            x = block((x,), MixtureWeights(mixture))
        return self.classifier(x.mean(dim=(2, 3)))


def ours(theirs: str) -> str:
    """Our name of one of their operations."""
    return "none" if theirs == "Zero" else "mbconv_{}x{}_{}".format(*re.findall(r"\d+", theirs))


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
    for built in network.blocks:
        for bundle in built.bundles:
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
            check(gradient.reshape(expected[name].shape), expected[name], **tolerance(meta, "gradients"))


def test_evaluation_opens_the_gates_of_the_original() -> None:
    arrays, _ = golden("proxyless")
    for block, chosen in enumerate(arrays["out/chosen_index"]):
        alpha = arrays[f"alpha/block{block}"][None]
        mixture = BinaryGates().mixture(alpha, StepContext("evaluation", 0, 1, torch.Generator()))
        assert mixture.active is not None
        assert mixture.active.nonzero().tolist() == [[0, int(chosen)]]
