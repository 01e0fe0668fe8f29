"""Sampled networks give the logits and gradients of the originals, and say where the recorded ones are odd."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from golden import check, golden, part, tolerance
from torch import Tensor

from robustnas.networks import Mixture, Supernet, SupernetConfig
from robustnas.networks.cell import Candidate, MixtureWeights
from robustnas.networks.edgewise import edgewise_slices, write_edgewise
from robustnas.networks.supernet import build_skeleton
from robustnas.spaces import NASBench201, darts_like
from robustnas.strategies.gumbel_one_hot import one_path, straight_through

NAMES = {"dua_sepc": "sep_conv", "dil_sepc": "dil_conv"}


def without_cancelled_biases(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A convolution's bias has no effect before a BatchNorm; the classifier's is no such."""
    kept = ("bn.bias", "classifier.bias")
    return {name: weight for name, weight in weights.items() if not name.endswith(".bias") or name.endswith(kept)}


class NASBench201Case:
    def __init__(self, arrays: dict[str, Any], meta: dict[str, Any]) -> None:
        self.network = Supernet(NASBench201, meta["C"], cells=meta["N"]).double()
        self.network.load_edgewise_state_dict(without_cancelled_biases(part(arrays, "w/")))

    def __call__(self, images: Tensor, mixtures: dict[str, Mixture]) -> Tensor:
        return self.network(images, mixtures)


class NASNetCase:
    """The author's network: DARTS cells whose poolings have no BatchNorm, and a BatchNorm before the classifier."""

    def __init__(self, arrays: dict[str, Any], meta: dict[str, Any]) -> None:
        operations = meta["ops"]
        for theirs, ours in NAMES.items():
            operations = [name.replace(theirs, ours) for name in operations]
        self.space = darts_like("GDAS", [tuple(operations)] * 14)
        candidates = {
            kind: [
                Candidate(row, column, edge.source, edge.node, name)
                for row, edge in enumerate(cell.edges)
                for column, name in enumerate(edge.operations)
            ]
            for kind, cell in self.space.cells.items()
        }
        self.body = build_skeleton(self.space, candidates, SupernetConfig(meta["C"], 3, pool_norm=False)).double()
        weights = without_cancelled_biases(part(arrays, "w/"))
        for theirs, ours in NAMES.items():
            weights = {name.replace(theirs, ours): weight for name, weight in weights.items()}
        scale, bias = weights.pop("lastact.bn.weight"), weights.pop("lastact.bn.bias")
        write_edgewise(edgewise_slices(self.body), self.body, weights, strict=True)
        cells: Any = self.body.cells
        cells[-1].register_forward_hook(
            lambda _, __, x: F.relu(F.batch_norm(x, None, None, scale, bias, training=True))
        )

    def __call__(self, images: Tensor, mixtures: dict[str, Mixture]) -> Tensor:
        weights = {kind: MixtureWeights(mixtures[kind].validate(kind, cell)) for kind, cell in self.space.cells.items()}
        return self.body(images, [weights[kind] for kind in self.body.kinds])[0]


CASES = {"gdas_nb201": (NASBench201Case, True), "gdas_darts": (NASNetCase, False)}


def run(name: str, tau: str, ghost: bool) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]], Tensor, Any]:
    """A pass with recorded noise: by kind what came of α, the logits, and the network."""
    arrays, meta = golden(name)
    network = CASES[name][0](arrays, meta)
    out = part(arrays, f"out/{tau}/")
    kinds = [key.removeprefix("alpha/") for key in arrays if key in ("alpha/cell", "alpha/normal", "alpha/reduce")]
    found: dict[str, dict[str, Tensor]] = {}
    mixtures = {}
    for kind in kinds:
        alpha = arrays[f"alpha/{kind}"].clone().requires_grad_()
        noise = out["gumbel"] if "gumbel" in out else out[f"gumbel/{kind}"]
        sample = straight_through(alpha, noise, float(tau.removeprefix("tau")))
        found[kind] = {"probs": sample.shares, "index": sample.chosen, "hard_weights": sample.hard, "alpha": alpha}
        mixtures[kind] = one_path(sample.chosen, sample.hard, ghost)
    logits = network(arrays["x_train"], mixtures)
    loss = F.cross_entropy(logits, arrays["y_train"])
    check(loss, out["loss"], **tolerance(meta, "logits"))
    wanted = [values[key] for values in found.values() for key in ("hard_weights", "alpha")]
    gradients = iter(torch.autograd.grad(loss, wanted, retain_graph=True))
    for values in found.values():
        values["grad_hard_weights"], values["grad_alpha"] = next(gradients), next(gradients)
    names = {kind: "" if "gumbel" in out else f"/{kind}" for kind in kinds}
    expected = {
        kind: {key: out[f"{key}{suffix}"] for key in ("probs", "index", "hard_weights", "grad_hard_weights")}
        | {"grad_alpha": out[f"grad_alpha/{kind}"]}
        for kind, suffix in names.items()
    }
    return {"meta": meta, "out": out, "expected": expected, "loss": loss}, found, logits, network


@pytest.mark.parametrize("tau", ["tau10", "tau1"])
@pytest.mark.parametrize("name", CASES)
def test_samples_and_logits_are_those_of_the_original(name: str, tau: str) -> None:
    case, found, logits, _ = run(name, tau, ghost=CASES[name][1])
    check(logits, case["out"]["logits"], **tolerance(case["meta"], "logits"))
    assert set(found) == set(case["expected"])
    for kind, expected in case["expected"].items():
        assert torch.equal(found[kind]["index"], expected["index"])
        for key in ("probs", "hard_weights"):
            check(found[kind][key], expected[key], **tolerance(case["meta"], "logits"))


@pytest.mark.parametrize("tau", ["tau10", "tau1"])
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_original(name: str, tau: str) -> None:
    case, found, _, __ = run(name, tau, ghost=CASES[name][1])
    for kind, expected in case["expected"].items():
        for key in ("grad_hard_weights", "grad_alpha"):
            check(found[kind][key], expected[key], **tolerance(case["meta"], "gradients"))
            assert expected[key].abs().max() > 1e-4


def test_the_ghost_gradient_is_the_slope_of_the_loss_along_the_output_of_the_edge() -> None:
    arrays, _ = golden("gdas_nb201")
    _, found, __, network = run("gdas_nb201", "tau1", ghost=True)
    chosen = F.one_hot(found["cell"]["index"], 5).bool()

    def loss_at(offsets: Tensor) -> Tensor:
        mixture = Mixture(chosen.double(), active=chosen, offsets=offsets)
        return F.cross_entropy(network(arrays["x_train"], {"cell": mixture}), arrays["y_train"])

    for row, step in enumerate(1e-6 * torch.eye(6, dtype=torch.float64)):
        slope = (loss_at(step) - loss_at(-step)) / 2e-6
        check(found["cell"]["grad_hard_weights"][row][~chosen[row]], slope.expand(4), rtol=1e-5, atol=1e-9)


def test_gradients_of_the_weights_are_those_of_the_original() -> None:
    case, _, __, network = run("gdas_nb201", "tau10", ghost=True)
    names, weights = zip(*network.network.named_parameters(), strict=True)
    gradients = torch.autograd.grad(case["loss"], weights, materialize_grads=True)
    of_weights = network.network.edgewise_state_dict(of=dict(zip(names, gradients, strict=True)))
    expected = without_cancelled_biases(part(case["out"], "grad_w/"))
    assert of_weights.keys() == expected.keys()
    for weight, gradient in of_weights.items():
        check(gradient, expected[weight], **tolerance(case["meta"], "gradients"))


@pytest.mark.parametrize("name", CASES)
def test_the_other_rule_for_unchosen_operations_gives_other_gradients(name: str) -> None:
    case, found, logits, _ = run(name, "tau1", ghost=not CASES[name][1])
    check(logits, case["out"]["logits"], **tolerance(case["meta"], "logits"))
    for kind, expected in case["expected"].items():
        chosen = F.one_hot(expected["index"], expected["probs"].shape[1]).bool()
        ours, theirs = found[kind]["grad_hard_weights"], expected["grad_hard_weights"]
        check(ours[chosen], theirs[chosen], **tolerance(case["meta"], "gradients"))
        assert not torch.allclose(ours[~chosen], theirs[~chosen], atol=1e-4)
