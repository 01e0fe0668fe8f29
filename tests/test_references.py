"""The references agree with the original implementations, so that tests may rely on them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import check, golden, part, tolerance
from references import Reference, ReferenceDiscrete, ReferenceSupernet
from torch import Tensor, nn

from robustnas.spaces import DARTS, S1, S2, S3, S4, Genotype, NASBench201

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
