"""The references agree with the original implementations, so that tests may rely on them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import check, golden, part, tolerance
from reference_operations import FactorizedReduce, Noise, drop_path
from references import Reference, ReferenceDiscrete, ReferenceSupernet
from torch import Tensor, nn

from robustnas.spaces import DARTS, S1, S2, S3, S4, Genotype, NASBench201, SearchSpace

SUPERNETS = {
    "darts_forward": DARTS,
    "space_s1_forward": S1,
    "space_s2_forward": S2,
    "space_s3_forward": S3,
    "nb201_forward": NASBench201,
}


def loaded(network: Reference, arrays: dict[str, Any]) -> Any:
    network.double().load_edgewise_state_dict(part(arrays, "w/"))
    return network


def check_weight_gradients(network: Reference, loss: Tensor, arrays: dict[str, Any], tolerances: dict) -> None:
    weights = network.edgewise_state_dict()
    found = torch.autograd.grad(loss, list(weights.values()), retain_graph=True)
    for name, gradient in zip(weights, found, strict=True):
        check(gradient, arrays[f"out/grad_w/{name}"], **tolerances)


@pytest.mark.parametrize("name", SUPERNETS)
def test_supernet_agrees_with_the_original(name: str) -> None:
    arrays, meta = golden(name)
    network = loaded(ReferenceSupernet(SUPERNETS[name], meta["C"], meta.get("layers", 0), meta.get("N", 0)), arrays)
    alphas = {kind: alpha.clone().requires_grad_() for kind, alpha in part(arrays, "alpha/").items()}
    mixtures = {kind: alpha.softmax(dim=1) for kind, alpha in alphas.items()}

    logits = network(arrays["x_train"], mixtures)
    loss = nn.functional.cross_entropy(logits, arrays["y_train"])

    check(logits, arrays["out/logits"], **tolerance(meta, "out/logits"))
    check(loss, arrays["out/loss"], **tolerance(meta, "out/loss"))
    if name != "space_s3_forward":  # its file holds no gradients of weights
        check_weight_gradients(network, loss, arrays, tolerance(meta, "gradients"))
    for kind, alpha in alphas.items():
        gradient = torch.autograd.grad(loss, alpha, retain_graph=True)[0]
        check(gradient, arrays[f"out/grad_alpha/{kind}"], **tolerance(meta, "gradients"))
    if "x_val" in arrays:
        after_one_pass = network.eval()(arrays["x_val"], mixtures)
        check(after_one_pass, arrays["out/logits_val_eval"], **tolerance(meta, "out/logits_val_eval"))


def test_pooled_features_of_nasbench201_agree_with_the_original() -> None:
    arrays, meta = golden("nb201_forward")
    network = loaded(ReferenceSupernet(NASBench201, meta["C"], cells=meta["N"]), arrays)
    features = network.features(arrays["x_train"], {"cell": arrays["alpha/cell"].softmax(dim=1)})
    check(features, arrays["out/features"], **tolerance(meta, "out/logits"))


def test_weights_given_directly_agree_with_the_original() -> None:
    arrays, meta = golden("space_s4_forward_masked")
    network = loaded(ReferenceSupernet(S4, meta["C"], meta["layers"]), arrays)
    mixtures = {kind: weights.clone().requires_grad_() for kind, weights in part(arrays, "weights/").items()}

    logits = network(arrays["x_train"], mixtures)
    loss = nn.functional.cross_entropy(logits, arrays["y_train"])

    check(logits, arrays["out/logits"], **tolerance(meta, "out/logits"))
    check(loss, arrays["out/loss"])
    check_weight_gradients(network, loss, arrays, tolerance(meta, "gradients"))
    for kind, weights in mixtures.items():
        gradient = torch.autograd.grad(loss, weights, retain_graph=True)[0]
        check(gradient[:, 1], arrays[f"out/grad_weights/{kind}"], **tolerance(meta, "gradients"))


def test_discrete_network_agrees_with_the_original() -> None:
    arrays, meta = golden("retrain_forward")
    genotype = Genotype.from_quark0(meta["genotype"]["normal"], meta["genotype"]["reduce"])
    network = loaded(ReferenceDiscrete(DARTS, genotype, meta["C"], meta["layers"]), arrays)

    logits = network(arrays["x_train"])
    loss = nn.functional.cross_entropy(logits, arrays["y_train"])

    check(logits, arrays["out/logits"], **tolerance(meta, "out/logits"))
    check(loss, arrays["out/loss"])
    check_weight_gradients(network, loss, arrays, tolerance(meta, "gradients"))
    check(network.eval()(arrays["x_val"]), arrays["out/logits_val_eval"], **tolerance(meta, "out/logits"))


@pytest.mark.parametrize(
    ("space", "count"),
    [(S1, 405_146), (S2, 665_466), (S3, 665_466), (S4, 624_506), (DARTS, 1_930_618), (NASBench201, 1_686_106)],
    ids=lambda value: getattr(value, "name", None),
)
def test_supernets_have_the_published_number_of_weights(space: SearchSpace, count: int) -> None:
    with torch.device("meta"):
        network = ReferenceSupernet(space, channels=16, layers=8, cells=5)
    assert sum(weight.numel() for weight in network.edgewise_state_dict().values()) == count


@pytest.mark.parametrize("auxiliary", [False, True])
@pytest.mark.parametrize(
    "name", ["quark0/darts:DARTS_V1", "quark0/darts:DARTS_V2", "yuhuixu1993/PC-DARTS:PC_DARTS_cifar"]
)
def test_discrete_networks_have_the_published_number_of_weights(name: str, auxiliary: bool) -> None:
    arrays, _ = golden("retrain_forward")
    listing = arrays["genotypes"][name]
    genotype = Genotype.from_quark0(listing["normal"], listing["reduce"])
    with torch.device("meta"):
        network = ReferenceDiscrete(DARTS, genotype, channels=36, layers=20, auxiliary=auxiliary)
    which = "total_with_auxiliary" if auxiliary else "without_auxiliary"
    expected = arrays["out/parameter_counts"][name][f"cifar_C36_L20_{which}"]
    assert sum(weight.numel() for weight in network.edgewise_state_dict().values()) == expected


def test_all_skip_cell_of_nasbench201_has_the_published_number_of_weights() -> None:
    genotype = Genotype.from_nasbench201(
        "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
    )
    network = ReferenceDiscrete(NASBench201, genotype, channels=16, cells=5)
    assert sum(weight.numel() for weight in network.parameters()) == 73_306


@pytest.mark.parametrize("space", [DARTS, S4, NASBench201], ids=lambda space: space.name)
def test_odd_images_give_logits_and_gradients(space: SearchSpace) -> None:
    network = ReferenceSupernet(space, channels=2, layers=3, cells=1, num_classes=4, image_channels=1)
    mixtures = {kind: torch.rand(cell.shape) for kind, cell in space.cells.items()}
    logits = network(torch.randn(2, 1, 15, 13), mixtures)
    gradients = torch.autograd.grad(logits.square().sum(), list(network.parameters()))
    assert logits.shape == (2, 4)
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_reduction_of_an_odd_image_equals_that_of_the_image_padded_to_even() -> None:
    reduce = FactorizedReduce(3, 4, affine=False).double()
    images = torch.randn(2, 3, 7, 5, dtype=torch.float64)
    check(reduce(images), reduce(nn.functional.pad(images, (0, 1, 0, 1))))


def test_noise_is_standard_normal_of_the_strided_shape() -> None:
    noise = Noise(stride=2)(torch.full((8, 16, 31, 32), 5.0))
    assert noise.shape == (8, 16, 16, 16)
    assert noise.mean().abs() < 0.03
    assert (noise.std() - 1).abs() < 0.03


def test_drop_path_keeps_the_mean_and_drops_whole_samples() -> None:
    dropped = drop_path(torch.ones(4000, 2, 3, 3), 0.25)
    values = dropped.flatten(1)
    assert (values == values[:, :1]).all()
    assert set(values[:, 0].tolist()) == {0.0, torch.tensor(1.0).div(0.75).item()}
    assert abs(dropped.mean().item() - 1) < 0.05


def test_drop_path_only_acts_while_training() -> None:
    network = ReferenceSupernet(S2, channels=2, layers=3, num_classes=4)
    mixtures = {kind: torch.full(cell.shape, 0.5) for kind, cell in S2.cells.items()}
    images = torch.randn(4, 3, 8, 8)
    clean = network(images, mixtures)
    assert not torch.allclose(network(images, mixtures, drop_path=0.5), clean)
    network.eval()
    assert torch.equal(network(images, mixtures, drop_path=0.5), network(images, mixtures))


def test_auxiliary_head_is_trained_only() -> None:
    choices = [("skip_connect", 0), ("max_pool_3x3", 1)] * 4
    genotype = Genotype.from_quark0(choices, choices)
    network = ReferenceDiscrete(DARTS, genotype, channels=2, layers=3, num_classes=7, auxiliary=True)
    images = torch.randn(2, 3, 32, 32)
    logits, auxiliary = network(images)
    assert logits.shape == auxiliary.shape == (2, 7)
    assert network.eval()(images).shape == (2, 7)


def test_loading_refuses_missing_and_unknown_names() -> None:
    network = ReferenceSupernet(S2, channels=2, layers=3)
    state = {name: weight.detach().clone() for name, weight in network.edgewise_state_dict().items()}
    network.load_edgewise_state_dict({**state, "stem.conv.bias": torch.zeros(6)})
    with pytest.raises(ValueError, match=r"stem\.wing"):
        network.load_edgewise_state_dict({**state, "stem.wing": torch.zeros(6)})
    del state["classifier.bias"]
    with pytest.raises(ValueError, match=r"classifier\.bias"):
        network.load_edgewise_state_dict(state)
