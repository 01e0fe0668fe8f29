"""Soft samples are those of the original, their argmax is drawn from softmax(α), and they become one-hot."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from golden import check, golden, part
from scipy.stats import chisquare

from robustnas.networks import Mixture, Supernet
from robustnas.spaces import DARTSAllEdges
from robustnas.strategies import Concrete, StepContext
from robustnas.strategies.concrete import concrete
from robustnas.strategies.step_context import Phase

KINDS = ("normal", "reduce")


def at(phase: Phase = "arch", epoch: int = 0, epochs: int = 150, seed: int = 0) -> StepContext:
    return StepContext(phase, epoch, epochs, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", ["1.0", "0.3"])
def test_samples_logits_and_gradients_are_those_of_the_original(temperature: str) -> None:
    arrays, meta = golden("snas")
    out, bounds = part(arrays, f"out/temp_{temperature}/"), meta["tolerances"]
    network = Supernet(DARTSAllEdges, meta["C"], meta["layers"]).double()
    network.load_edgewise_state_dict(part(arrays, "w/"))
    alphas = {kind: arrays[f"alpha/{kind}"].clone().requires_grad_() for kind in KINDS}
    mixtures = {}
    for kind, alpha in alphas.items():
        noise = -(-arrays[f"uniform/{kind}"].log()).log()
        mixtures[kind] = Mixture(concrete(alpha, noise, float(temperature)))
        check(mixtures[kind].operations, out[f"weights/{kind}"], **bounds["forward"])
    logits = network(arrays["x_train"], mixtures)
    loss = F.cross_entropy(logits, arrays["y_train"])
    check(logits, out["logits"], **bounds["forward"])
    check(loss, out["loss"], **bounds["forward"])
    names, weights = zip(*network.named_parameters(), strict=True)
    of_alphas, of_weights = (
        torch.autograd.grad(loss, leaves, retain_graph=True, materialize_grads=True)
        for leaves in (list(alphas.values()), list(weights))
    )
    for kind, gradient in zip(KINDS, of_alphas, strict=True):
        check(gradient, out[f"grad_alpha/{kind}"], **bounds["gradient"])
    found = network.edgewise_state_dict(of=dict(zip(names, of_weights, strict=True)))
    expected = part(arrays, "out/temp_0.3/grad_w/") if temperature == "0.3" else {}
    assert expected.keys() <= found.keys()
    for name, gradient in expected.items():
        check(found[name], gradient, **bounds["gradient"])


def test_the_temperature_falls_linearly_over_the_whole_search() -> None:
    arrays, _ = golden("snas")
    relaxation = Concrete()
    found = torch.tensor([relaxation.temperature(at(epoch=epoch)) for epoch in range(150)], dtype=torch.float64)
    check(found, torch.linspace(1, 0.03, 150, dtype=torch.float64))
    check(arrays["out/temperatures"], 1 - 0.97 * torch.arange(1, 151, dtype=torch.float64) / 150)  # a step ahead there
    assert (found - arrays["out/temperatures"]).abs().max() < 0.97 / 149
    assert relaxation.temperature(at(epoch=150)) == pytest.approx(0.03)
    assert relaxation.temperature(at(epochs=1)) == 1.0


def test_a_sample_is_its_formula_and_derives_as_one() -> None:
    alpha = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    noise = torch.randn(3, 4, dtype=torch.float64)
    sample = concrete(alpha, noise, 0.5)
    for a, g, row in zip(alpha.tolist(), noise.tolist(), sample.tolist(), strict=True):
        powers = [math.exp((x + y) / 0.5) for x, y in zip(a, g, strict=True)]
        assert row == pytest.approx([power / sum(powers) for power in powers], rel=1e-12)
    assert torch.autograd.gradcheck(lambda a: concrete(a, noise, 0.5), alpha)


def test_the_largest_entry_is_drawn_from_the_softmax_and_cold_samples_are_one_hot() -> None:
    alpha = torch.tensor([[0.0, 1.0, -0.5, 0.5]]).double().expand(4000, 4)
    warm, cold = (Concrete(t, t).mixture(alpha, at(seed=1)).operations for t in (1.0, 1e-5))
    assert torch.equal(warm.argmax(1), cold.argmax(1))
    counts = torch.bincount(cold.argmax(1), minlength=4)
    assert chisquare(counts.numpy(), 4000 * alpha[0].softmax(0).numpy()).pvalue > 1e-3
    assert (cold.amax(1) > 0.999).float().mean() > 0.999
    assert (warm.amax(1) < 0.9).float().mean() > 0.5
    check(warm.sum(1), torch.ones(4000).double())


def test_all_steps_of_one_context_see_one_sample() -> None:
    alpha, relaxation = torch.randn(6, 5), Concrete()
    one, same, other = (relaxation.mixture(alpha, at(seed=seed)).operations for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_evaluation_is_sampled_or_at_the_shares() -> None:
    alpha = torch.randn(6, 5)
    shares = alpha.softmax(dim=-1)
    sampled, calm = Concrete(), Concrete(evaluation="shares")
    assert torch.equal(calm.mixture(alpha, at("evaluation")).operations, shares)
    assert not torch.equal(sampled.mixture(alpha, at("evaluation")).operations, shares)
    assert not torch.equal(calm.mixture(alpha, at("arch")).operations, shares)
    for relaxation in (sampled, calm):
        assert torch.equal(relaxation.shares(alpha), shares)
        assert torch.equal(relaxation.expected(alpha, at("evaluation")).operations, shares)


def test_operations_that_left_have_no_weight_and_no_gradient() -> None:
    alpha = torch.randn(6, 5, requires_grad=True)
    gone = torch.zeros(6, 5, dtype=torch.bool)
    gone[:, 2] = True
    sample = Concrete(0.1, 0.1).mixture(alpha.masked_fill(gone, -torch.inf), at()).operations
    assert bool((sample[gone] == 0).all())
    sample.square().sum().backward()
    assert alpha.grad.isfinite().all()
    assert bool((alpha.grad[gone] == 0).all())


@pytest.mark.parametrize("name", ["temperature_start", "temperature_end"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^Expected `{name}` to be positive, but got {value}\\.$"):
        Concrete(**{name: value})


def test_another_evaluation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Expected `evaluation` to be 'sampled' or 'shares', but got 'argmax'\.$"):
        Concrete(evaluation="argmax")  # type: ignore[arg-type]
