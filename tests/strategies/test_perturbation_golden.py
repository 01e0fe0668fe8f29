"""Perturbed mixtures are those of the original SmoothDARTS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from golden import check, golden, part
from torch import Tensor
from torch.nn.functional import cross_entropy

from robustnas.networks import Supernet
from robustnas.networks.batchnorm_statistics import evaluating
from robustnas.strategies import AdversarialPerturbation, Perturbation, RandomPerturbation, Softmax, StepContext
from robustnas.strategies import perturbation as perturbing
from robustnas.strategies.perturbation import Mixtures

KINDS = ("normal", "reduce")
NUMBERS = {"rtol": 1e-8, "atol": 1e-10}
WEIGHTS = {"rtol": 0.0, "atol": 1e-10}
MOMENT = StepContext("weights", 1, 2, torch.Generator())  # half way


class Replay:
    """A part at the state of the case, with recorded noise; keeps what it asks for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, noise: dict[str, Tensor] | None) -> None:
        self.arrays, self.meta = golden("sdarts_perturb")
        self.network = Supernet("S3", channels=self.meta["C"], layers=self.meta["layers"]).double()
        self.network.load_edgewise_state_dict({**part(self.arrays, "w/"), **part(self.arrays, "bnstats/")})
        self.clean = {kind: Softmax().mixture(self.arrays[f"alpha/{kind}"], MOMENT) for kind in KINDS}
        self.seen: list[dict[str, Tensor]] = []
        self.averaged: list[list[Tensor]] = []
        draws = iter([torch.zeros(()) for _ in KINDS] if noise is None else [noise[kind] for kind in KINDS])
        monkeypatch.setattr(perturbing, "_noise", lambda *_: next(draws))

    def loss_at(self, mixtures: Mixtures) -> Tensor:
        self.seen.append({kind: mixture.operations.detach().clone() for kind, mixture in mixtures.items()})
        return cross_entropy(self.network(self.arrays["x_train"], mixtures), self.arrays["y_train"])

    def average(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        self.averaged.append([tensor.clone() for tensor in tensors])
        return list(tensors)

    def run(self, part: Perturbation) -> Mixtures:
        with evaluating(self.network):
            return part.perturb(self.clean, self.loss_at, MOMENT, self.average)


def radii(epsilon: float) -> dict[str, float]:
    """A schedule that is at ε half way."""
    return {"radius_start": epsilon - 0.02, "radius_end": epsilon + 0.02}


@pytest.mark.parametrize("epsilon", ["0.03", "0.3"])
def test_random_perturbation_is_that_of_the_original(epsilon: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, _ = golden("sdarts_perturb")
    expected = part(arrays, f"out/rs_eps{epsilon}/")
    replay = Replay(monkeypatch, part(expected, "noise/"))
    found = replay.run(RandomPerturbation(**radii(float(epsilon))))
    for kind in KINDS:
        check(replay.clean[kind].operations, arrays[f"out/weights/{kind}"], **WEIGHTS)
        assert expected[f"noise/{kind}"].abs().max() <= float(epsilon)
        check(found[kind].operations, expected[f"weights/{kind}"], **WEIGHTS)
    check(replay.loss_at(found), expected["loss_train_mode"], **NUMBERS)


@pytest.mark.parametrize("start", ["zerostart", "randomstart"])
@pytest.mark.parametrize("epsilon", ["0.03", "0.3"])
def test_the_attack_takes_the_steps_of_the_original(epsilon: str, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays, meta = golden("sdarts_perturb")
    assert meta["hyperparameters"]["pgd_steps"] == 7
    expected = part(arrays, f"out/adv_eps{epsilon}_{start}/")
    replay = Replay(monkeypatch, part(expected, "start_noise/") if start == "randomstart" else None)
    buffers = {name: buffer.clone() for name, buffer in replay.network.named_buffers()}
    found = replay.run(AdversarialPerturbation(**radii(float(epsilon))))

    assert len(replay.seen) == 9  # seven gradients, and two losses to compare
    *slopes, losses = replay.averaged
    began, *trajectory = replay.seen[:7]
    for k, kind in enumerate(KINDS):
        at_start = expected[f"start_weights/{kind}"] if start == "randomstart" else arrays[f"out/weights/{kind}"]
        check(began[kind], at_start, **WEIGHTS)
        check(torch.stack([slope[k] for slope in slopes]), expected[f"gradient/{kind}"], **NUMBERS)
        moved = torch.stack([*(weights[kind] for weights in trajectory), replay.seen[8][kind]])
        check(moved, expected[f"trajectory/{kind}"], **WEIGHTS)
        check(replay.seen[7][kind], arrays[f"out/weights/{kind}"], **WEIGHTS)
        check(found[kind].operations, expected[f"weights/{kind}"], **WEIGHTS)
    check(losses[0], expected["loss_before"], **NUMBERS)
    check(losses[0], arrays["out/loss_eval_mode_unperturbed"], **NUMBERS)
    check(losses[1], expected["loss_after"], **NUMBERS)
    assert bool(expected["reverted"]) == bool(losses[1] < losses[0])
    for name, buffer in replay.network.named_buffers():
        assert torch.equal(buffer, buffers[name]), name
    check(replay.loss_at(found), expected["loss_train_mode"], **NUMBERS)


def test_the_comparison_sees_an_attack_in_training_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays: dict[str, Any] = golden("sdarts_perturb")[0]
    replay = Replay(monkeypatch, None)
    AdversarialPerturbation(**radii(0.3)).perturb(replay.clean, replay.loss_at, MOMENT, replay.average)
    with pytest.raises(AssertionError):
        check(replay.averaged[0][0], arrays["out/adv_eps0.3_zerostart/gradient/normal"][0], rtol=1e-2)
