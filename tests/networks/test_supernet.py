"""The supernet gives the values of the original implementations, and refuses what does not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import check, golden, part, tolerance
from tables import check_each
from torch import Tensor, nn

from robustnas.networks import Mixture, Supernet, SupernetConfig
from robustnas.networks.bundle import Convolution
from robustnas.spaces import (
    DARTS,
    S1,
    S2,
    S3,
    S4,
    DARTSSingleCell,
    DARTSWithoutNone,
    DARTSWithoutSkip,
    NASBench201,
    SearchSpace,
)

SUPERNETS = {
    "darts_forward": DARTS,
    "space_s1_forward": S1,
    "space_s2_forward": S2,
    "space_s3_forward": S3,
    "space_s4_forward_masked": S4,
    "nb201_forward": NASBench201,
}


def loaded(space: SearchSpace, arrays: dict[str, Any], meta: dict[str, Any], **settings: Any) -> Supernet:
    """The network of a case, with its weights; biases that a BatchNorm cancels are left out."""
    depth = {"layers": meta["layers"]} if space.skeleton == "darts" else {"cells": meta["N"]}
    network = Supernet(space, meta["C"], **depth, **settings).double()
    own = network.edgewise_state_dict()
    weights = part(arrays, "w/")
    without = {name for name in weights.keys() - own.keys() if name.endswith(".bias")}
    network.load_edgewise_state_dict({name: weights[name] for name in weights.keys() - without})
    return network


def inputs(space: SearchSpace, arrays: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Mixture]]:
    """α, or the weights where they are given directly, and the mixtures they make."""
    if part(arrays, "weights/"):
        given = {kind: arrays[f"weights/{kind}"].clone().requires_grad_() for kind in space.cells}
        return given, {kind: Mixture(weights) for kind, weights in given.items()}
    alphas = {kind: arrays[f"alpha/{kind}"].clone().requires_grad_() for kind in space.cells}
    return alphas, {kind: Mixture(alpha.softmax(dim=1)) for kind, alpha in alphas.items()}


# Every space with both forms of a convolution, and with cells that are kept or computed again.
CASES: list[tuple[str, Convolution, bool]] = [
    case
    for number, name in enumerate(SUPERNETS)
    for case in ((name, "separable", bool(number % 2)), (name, "dense", not number % 2))
]


@pytest.mark.parametrize(("name", "convolution", "checkpointing"), CASES)
def test_values_and_gradients_are_those_of_the_original(
    name: str, convolution: Convolution, checkpointing: bool
) -> None:
    arrays, meta = golden(name)
    space = SUPERNETS[name]
    network = loaded(space, arrays, meta, convolution=convolution, checkpointing=checkpointing)
    alphas, mixtures = inputs(space, arrays)

    logits = network(arrays["x_train"], mixtures)
    loss = nn.functional.cross_entropy(logits, arrays["y_train"])
    names, weights = zip(*network.named_parameters(), strict=True)
    gradients = torch.autograd.grad(loss, [*alphas.values(), *weights])

    check(logits, arrays["out/logits"], **tolerance(meta, "out/logits"))
    check(loss, arrays["out/loss"], **tolerance(meta, "out/loss"))
    of_weights = network.edgewise_state_dict(of=dict(zip(names, gradients[len(alphas) :], strict=True)))
    expected = part(arrays, "out/grad_w/")
    assert name == "space_s3_forward" or of_weights.keys() <= expected.keys()  # the file of S3 holds none
    for weight in of_weights.keys() & expected.keys():
        check(of_weights[weight], expected[weight], **tolerance(meta, "gradients"))
    for kind, gradient in zip(alphas, gradients, strict=False):
        if name == "space_s4_forward_masked":  # the gradient of the noise's weight is random
            check(gradient[:, 1], arrays[f"out/grad_weights/{kind}"], **tolerance(meta, "gradients"))
        else:
            check(gradient, arrays[f"out/grad_alpha/{kind}"], **tolerance(meta, "gradients"))
    if "x_val" in arrays:
        after_one_pass = network.eval()(arrays["x_val"], mixtures)
        check(after_one_pass, arrays["out/logits_val_eval"], **tolerance(meta, "out/logits_val_eval"))


@pytest.mark.parametrize("convolution", ["separable", "dense"])
def test_pooled_features_of_nasbench201_are_those_of_the_original(convolution: Convolution) -> None:
    arrays, meta = golden("nb201_forward")
    network = loaded(NASBench201, arrays, meta, convolution=convolution)
    seen = []
    network.body.classifier.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    network(arrays["x_train"], inputs(NASBench201, arrays)[1])
    check(seen[0], arrays["out/features"], **tolerance(meta, "out/logits"))


def test_supernets_have_the_published_number_of_weights() -> None:
    def correct(space: SearchSpace, count: int) -> None:
        with torch.device("meta"):
            network = Supernet(space)
        assert sum(weight.numel() for weight in network.parameters()) == count

    check_each(
        [
            (S1, 405_146),
            (S2, 665_466),
            (S3, 665_466),
            (S4, 624_506),
            (DARTS, 1_930_618),
            (DARTSWithoutNone, 1_930_618),
            (NASBench201, 1_686_106),
            (DARTSWithoutSkip, 1_930_618 - 8 * (32**2 + 64**2)),  # skips of the reduction cells have weights
            (DARTSSingleCell, 1_392 + 2 * 48 * 16 + 44 * 3_168 + 129 * 10),  # stem, inputs, 44 edges, classifier
        ],
        lambda row: correct(*row),
    )


@pytest.mark.parametrize(
    ("precision", "convolution", "space"),
    [
        (torch.float32, "separable", DARTS), (torch.bfloat16, "dense", DARTS),
        (torch.float32, "dense", S4), (torch.bfloat16, "separable", S4),
        (torch.float32, "separable", NASBench201), (torch.bfloat16, "dense", NASBench201),
    ],
    ids=lambda value: getattr(value, "name", None),
)  # fmt: skip
def test_reduced_precision_stays_near(space: SearchSpace, convolution: Convolution, precision: torch.dtype) -> None:
    depth: dict[str, Any] = {str(space.rules.depth): space.rules.least_depth}
    network = Supernet(space, channels=8, convolution=convolution, **depth).double()
    images = torch.randn(8, 3, 16, 16, dtype=torch.float64)
    weights = {kind: torch.rand(cell.shape, dtype=torch.float64) for kind, cell in space.cells.items()}
    for kind, cell in space.cells.items():
        for row, edge in enumerate(cell.edges):
            if "noise" in edge.operations:
                weights[kind][row, edge.operations.index("noise")] = 0
    exact = network(images, {kind: Mixture(values) for kind, values in weights.items()})
    network.float()
    mixtures = {kind: Mixture(values.float()) for kind, values in weights.items()}
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        logits = network(images.float(), mixtures)
    limit = 1e-5 if precision == torch.float32 else 5e-2
    assert (logits.double() - exact).abs().max() < limit * exact.abs().max()


def evenly(space: SearchSpace) -> dict[str, Mixture]:
    return {kind: Mixture(torch.full(cell.shape, 0.2)) for kind, cell in space.cells.items()}


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_batch_statistics_normalise_in_evaluation_as_in_training(mode: str) -> None:
    network = Supernet(S2, channels=2, layers=3, batch_statistics=True)
    images = torch.randn(4, 3, 8, 8)
    trained = network(images, evenly(S2))
    network.train(mode == "train")
    before = {name: buffer.clone() for name, buffer in network.named_buffers() if ".edge." in name}
    again = network(images, evenly(S2))
    stem = network.body.stem.bn
    if mode == "eval":
        assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers() if name in before)
        stem.running_mean.copy_(trained.new_zeros(6))  # the stem keeps its running statistics
        assert not torch.equal(network(images, evenly(S2)), again)
    else:
        torch.testing.assert_close(again, trained)
        assert not any(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers() if name in before)


def test_checkpointing_updates_running_statistics_once() -> None:
    images = torch.randn(4, 3, 8, 8)
    kept, computed_again = (Supernet(S2, channels=2, layers=3, checkpointing=flag) for flag in (False, True))
    computed_again.load_state_dict(kept.state_dict())
    for network in (kept, computed_again):
        network(images, evenly(S2)).sum().backward()
    for (name, expected), found in zip(kept.named_buffers(), computed_again.buffers(), strict=True):
        torch.testing.assert_close(found, expected, msg=name)


def test_a_call_with_other_weights_leaves_the_own_ones_alone() -> None:
    network = Supernet(S2, channels=2, layers=3).double()
    images = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    doubled = {name: 2 * weight for name, weight in network.named_parameters()}
    mixtures = {kind: Mixture(torch.rand(cell.shape, dtype=torch.float64)) for kind, cell in S2.cells.items()}
    called = torch.func.functional_call(network, doubled, (images, mixtures))
    assert not torch.allclose(called, network(images, mixtures))
    network.load_state_dict(doubled, strict=False)
    check(called, network(images, mixtures))


def test_imagenet_stem_divides_the_resolution_by_8() -> None:
    network = Supernet(DARTS, channels=4, layers=3, num_classes=5, stem="imagenet")
    assert network(torch.randn(2, 3, 64, 64), evenly(DARTS)).shape == (2, 5)
    with pytest.raises(ValueError, match="at least 32 x 32 pixels"):
        network(torch.randn(2, 3, 31, 64), evenly(DARTS))


def test_arguments_that_do_not_fit_are_refused() -> None:
    def correct(settings: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Supernet(**settings)

    check_each(
        [
            ({"space": DARTS, "cells": 5}, "Expected `layers` to set the depth"),
            ({"space": NASBench201, "layers": 8}, "Expected `cells` to set the depth"),
            ({"space": DARTS, "layers": 2}, "Expected `layers` to be at least 3, but got 2"),
            ({"space": NASBench201, "cells": 0}, "Expected `cells` to be at least 1, but got 0"),
            (
                {"space": NASBench201, "stem": "imagenet"},
                "Expected `stem` to be 'cifar' in the space NASBench201, but got 'imagenet'",
            ),
            ({"space": DARTS, "channels": 0}, "Expected `channels` to be at least 1, but got 0"),
            ({"space": DARTS, "num_classes": -1}, "Expected `num_classes` to be at least 1, but got -1"),
            ({"space": "darst"}, "darst"),
        ],
        lambda row: correct(*row),
    )


def test_images_that_do_not_fit_are_refused() -> None:
    def correct(shape: tuple[int, ...], message: str) -> None:
        network = Supernet(S2, channels=2, layers=3)
        with pytest.raises(ValueError, match=message):
            network(torch.randn(shape), evenly(S2))

    check_each(
        [
            ((2, 1, 8, 8), r"Expected `images` to be \[batch, 3, height, width\], but got \[2, 1, 8, 8\]"),
            ((3, 8, 8), r"but got \[3, 8, 8\]"),
            ((2, 3, 8, 3), "at least 4 x 4 pixels.*but got 8 x 3"),
        ],
        lambda row: correct(*row),
    )


def test_mixtures_that_do_not_fit_are_refused() -> None:
    network = Supernet(S2, channels=2, layers=3)
    images = torch.randn(2, 3, 8, 8)
    with pytest.raises(ValueError, match=r"Expected `mixtures` for the cells \['normal', 'reduce'\]"):
        network(images, {"normal": evenly(S2)["normal"]})
    with pytest.raises(ValueError, match=r"mixture 'reduce' to have shape \(14, 2\), but got \(14, 3\)"):
        network(images, evenly(S2) | {"reduce": Mixture(torch.rand(14, 3))})


def test_a_configuration_stands_for_its_fields() -> None:
    networks = []
    for given in ({"channels": 4, "layers": 3, "num_classes": 5}, {"config": SupernetConfig(4, 3, num_classes=5)}):
        torch.manual_seed(0)
        networks.append(Supernet(DARTS, **given).state_dict())
    one, other = networks
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ValueError, match="Expected either `config` or its fields, but got both: channels"):
        Supernet(DARTS, channels=4, config=SupernetConfig())
