"""Operations that grow: recorded copies of the original, and that what is computed on copied channels is copied."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from golden import check, golden, part
from torch import Tensor

from robustnas.networks import AuxiliarySkip, Mixture, PartialChannels, Supernet, WideningChannels
from robustnas.networks.bundle import Bundle, State
from robustnas.networks.operations import build_operation
from robustnas.networks.widening import grow, widen
from robustnas.spaces import DARTS, NASBench201

# Places of recorded indices: those of the output and of the input channels of each weight.
RECORDED: dict[str, dict[str, tuple[int, int | None]]] = {
    "sep_conv_3x3": {"dw1": (0, None), "pw1": (1, 0), "dw2": (2, None), "pw2": (3, 2)},
    "dil_conv_5x5": {"dw": (0, None), "pw": (1, 0)},
    "skip_connect": {"conv1": (1, 0), "conv2": (3, 2)},
    "max_pool_3x3": {},
    "avg_pool_3x3": {},
}
CASES = [(name, stride) for name in RECORDED for stride in (1, 2) if (name, stride) != ("skip_connect", 1)]


def computed(name: str, stride: int, weights: dict[str, Tensor], images: Tensor) -> Tensor:
    operation = build_operation(name, Bundle(1, images.shape[1], images.shape[1], stride)).double()
    assert {key for key, _ in operation.named_parameters()} == weights.keys()
    operation.load_state_dict({key: weight[None] for key, weight in weights.items()}, strict=False)
    return operation(State(images), (0,), torch.ones(1).double())


@pytest.mark.parametrize(("name", "stride"), CASES)
def test_copies_are_those_of_the_original(name: str, stride: int) -> None:
    arrays, meta = golden("drnas_progressive")
    held = part(arrays, f"widen/{name}_stride{stride}/")
    before, after = part(held, "before/"), part(held, "after/")
    assert before.keys() == RECORDED[name].keys()
    for key, (outgoing, entering) in RECORDED[name].items():
        maps = [
            None if place is None else torch.cat([torch.arange(before[key].shape[axis]), held[f"index/{place}"]])
            for axis, place in enumerate((outgoing, entering))
        ]
        assert torch.equal(grow(before[key], *maps), after[key])
    check(computed(name, stride, before, held["x"][:, :2]), held["out/before"], **meta["tolerances"]["forward"])
    check(computed(name, stride, after, held["x"]), held["out/after"], **meta["tolerances"]["forward"])


def test_the_progressive_supernet_is_that_of_the_original() -> None:
    """Masked samples, partial channels, and operations of weight zero that are not computed."""
    arrays, meta = golden("drnas_progressive")
    network = Supernet("DARTSWithoutNone", meta["C"], meta["layers"], connection=PartialChannels(meta["k"])).double()
    network.load_edgewise_state_dict(part(arrays, "w/"))
    given = {kind: arrays[f"weights/{kind}"].clone().requires_grad_() for kind in ("normal", "reduce")}
    mixtures = {kind: Mixture(weight, active=weight.detach() > 0) for kind, weight in given.items()}
    logits = network(arrays["x_train"], mixtures)
    loss = torch.nn.functional.cross_entropy(logits, arrays["y_train"])
    check(logits, arrays["out/logits"], **meta["tolerances"]["forward"])
    check(loss, arrays["out/loss"], **meta["tolerances"]["forward"])
    slopes = torch.autograd.grad(loss, list(given.values()))
    for kind, slope in zip(given, slopes, strict=True):
        kept = given[kind].detach() > 0  # others are not computed here, and have no gradient
        check(slope, arrays[f"out/grad_weights/{kind}"] * kept, **meta["tolerances"]["gradient"])


def wide(space: Any, connection: Any, divide: bool = True, **options: Any) -> tuple[Supernet, Supernet, Any]:
    """A supernet, the same one after it has widened to half of the channels, and how it has grown."""
    networks = []
    for _ in range(2):
        torch.manual_seed(0)
        networks.append(Supernet(space, 12, connection=connection, **options).double())
    for network in networks:
        for buffer in network.buffers():
            if buffer.is_floating_point():
                buffer.copy_(torch.rand(buffer.shape, generator=torch.Generator().manual_seed(1)) + 0.5)
    old, new = networks
    return old, new, widen(new, connection.at_stage(1), torch.Generator().manual_seed(2), divide)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(("space", "options"), [(DARTS, {"layers": 3}), (NASBench201, {"cells": 1})], ids=str)
def test_on_copied_channels_an_operation_gives_what_it_gave(space: Any, options: Any, training: bool) -> None:
    old, new, growth = wide(space, WideningChannels(3, ((1, 2),)), **options)
    for name, cell in new.body.named_modules():
        if not hasattr(cell, "stacked"):
            continue
        before = old.body.get_submodule(name)
        assert cell.through == 3 * before.through // 2
        index = growth.maps[name, before.through, cell.through]
        assert index[: before.through].tolist() == list(range(before.through))
        images = torch.randn(3, before.through, 6, 6).double()
        for one, other in zip(before.stacked, cell.stacked, strict=True):
            group = tuple(range(len(one.candidates)))
            scale = torch.rand(len(group)).double()
            narrow = one.operation.train(training)(State(images), group, scale)
            found = other.operation.train(training)(State(images[:, index]), group, scale)
            halves = type(one.operation).__name__ == "FactorisedReduce"
            outgoing = growth.maps_of[f"{name}.edge.{_edge(one)}.bn.running_mean"][0] if halves else index
            expected = narrow.unflatten(1, (len(group), -1))[:, :, outgoing].flatten(1, 2)
            check(found, expected, rtol=1e-9, atol=1e-9)


def _edge(leaving: Any) -> str:
    first = leaving.candidates[0]
    return f"{first.source}-{first.node}.{first.operation}"


def test_what_does_not_grow_stays_and_what_copies_is_not_divided_if_not_asked() -> None:
    old, new, growth = wide(NASBench201, WideningChannels(3, ((1, 2),)), divide=False, cells=1)
    before, after = old.edgewise_state_dict(), new.edgewise_state_dict()
    assert before.keys() == after.keys()
    same = [name for name in before if before[name].shape == after[name].shape]
    assert {"stem.conv", "classifier.weight", "stem.bn.running_mean"} <= set(same)
    assert all(torch.equal(before[name], after[name]) for name in same)
    name = "cells.0.edge.0-1.nor_conv_3x3.conv"
    index = growth.maps["cells.0", 4, 6]
    assert torch.equal(after[name], before[name][index][:, index])
    divided = wide(NASBench201, WideningChannels(3, ((1, 2),)), cells=1)[1].edgewise_state_dict()[name]
    copies = torch.tensor([index.tolist().count(one) for one in index.tolist()])
    check(divided, after[name] / copies[None, :, None, None])
    assert new.config.connection == PartialChannels(2)
    assert new.training == old.training


def test_an_auxiliary_skip_grows_too() -> None:
    connection = AuxiliarySkip(channels=WideningChannels(3, ((1, 2),)))
    assert connection.stages == ((1, 2),)
    old, new, _ = wide(DARTS, connection, layers=3)
    assert new.config.connection == AuxiliarySkip(channels=PartialChannels(2))
    names = [name for name in new.edgewise_state_dict() if ".auxiliary.conv" in name]
    assert len(names) == 2 * 2 * 8
    assert all(new.edgewise_state_dict()[n].shape != old.edgewise_state_dict()[n].shape for n in names)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WideningChannels(4, ()), "Expected `stages` to be pairs of an epoch and a `k`, with epochs that rise"),
        (lambda: WideningChannels(4, ((5, 4),)), "`k` that falls from below 4 to 1 or more, but got [[5, 4]]."),
        (lambda: WideningChannels(6, ((0, 4),)), "but got [[0, 4]]."),
        (lambda: WideningChannels(6, ((5, 4), (5, 2))), "but got [[5, 4], [5, 2]]."),
        (lambda: WideningChannels(6, ((5, 0),)), "but got [[5, 0]]."),
        (
            lambda: Supernet(DARTS, 18, 3, connection=WideningChannels(6)),
            "Expected `channels` to be divisible by the `k` of `PartialChannels`, 4, but got 18.",
        ),
        (
            lambda: Supernet(DARTS, 16, 3, connection=WideningChannels(6)),
            "Expected `channels` to be divisible by the `k` of `PartialChannels`, 6, but got 16.",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
