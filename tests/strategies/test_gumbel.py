"""One operation an edge is drawn with the right probability, computed alone, and learned as the originals do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from golden import check, golden, part, tolerance
from torch import Tensor

from robustnas.networks import Mixture, Supernet
from robustnas.networks.bundle import Operation
from robustnas.networks.cell import Candidate, CellOptions, Weights
from robustnas.networks.edgewise import edgewise_slices, write_edgewise
from robustnas.networks.supernet import build_skeleton
from robustnas.spaces import DARTS, NASBench201, SearchSpace, darts_like
from robustnas.strategies import GumbelOneHot, Moment
from robustnas.strategies.gumbel import gumbel_noise, one_path, straight_through
from robustnas.strategies.moment import Purpose

NAMES = {"dua_sepc": "sep_conv", "dil_sepc": "dil_conv"}


def moment(seed: int = 0, epoch: int = 0, epochs: int = 1, purpose: Purpose = "arch") -> Moment:
    return Moment(purpose, epoch, epochs, torch.Generator().manual_seed(seed))


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
        options = CellOptions(pool_norm=False)
        self.body = build_skeleton(
            self.space, candidates, meta["C"], 3, None, 10, 3, "cifar", False, options, False
        ).double()
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
        weights = {kind: Weights(mixtures[kind].validate(kind, cell)) for kind, cell in self.space.cells.items()}
        return self.body(images, weights)[0]


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


A_FIFTH = pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="gdas_nb201.npz holds a fifth of what its own description and the author's code say for unchosen operations",
)


@pytest.mark.parametrize("tau", ["tau10", "tau1"])
@pytest.mark.parametrize("name", [pytest.param("gdas_nb201", marks=A_FIFTH), "gdas_darts"])
def test_gradients_are_those_of_the_original(name: str, tau: str) -> None:
    case, found, _, __ = run(name, tau, ghost=CASES[name][1])
    for kind, expected in case["expected"].items():
        for key in ("grad_hard_weights", "grad_alpha"):
            check(found[kind][key], expected[key], **tolerance(case["meta"], "gradients"))
            assert expected[key].abs().max() > 1e-4


@pytest.mark.parametrize("tau", ["tau10", "tau1"])
def test_recorded_ghost_gradients_are_a_fifth_of_what_their_description_says(tau: str) -> None:
    """All else agrees: with the recorded values for unchosen operations times five, the gradient of α is ours too.

    That ours is the sum over the edge's output, as described, is tested below and in ``networks/test_cell.py`` against
    finite differences.
    """
    case, found, _, __ = run("gdas_nb201", tau, ghost=True)
    expected, ours, close = case["expected"]["cell"], found["cell"], tolerance(case["meta"], "gradients")
    chosen = F.one_hot(expected["index"], 5).bool()
    described = torch.where(chosen, expected["grad_hard_weights"], 5 * expected["grad_hard_weights"])
    check(ours["grad_hard_weights"], described, **close)
    q = expected["probs"]
    alpha = q * (described - (q * described).sum(1, keepdim=True)) / float(tau.removeprefix("tau"))
    check(ours["grad_alpha"], alpha, **close)


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


@pytest.mark.parametrize("tau", [10.0, 1.0, 0.1, 1e-3])
def test_the_sample_is_one_hot_exactly_and_derives_as_its_formula(tau: float) -> None:
    alpha = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    noise = gumbel_noise(alpha, torch.Generator().manual_seed(1))
    shares, chosen, hard = straight_through(alpha, noise, tau)
    assert torch.equal(hard, F.one_hot(chosen, 5).double())
    assert torch.equal(chosen, (alpha + noise).argmax(dim=1))
    slope = torch.randn(6, 5, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(hard, alpha, slope, retain_graph=True)
    q = shares.detach()
    check(gradient, q * (slope - (q * slope).sum(1, keepdim=True)) / tau, rtol=1e-9, atol=1e-12)
    check(torch.autograd.grad(shares, alpha, slope)[0], gradient)


@pytest.mark.parametrize("tau", [10.0, 0.1])
def test_operations_are_drawn_as_often_as_softmax_says(tau: float) -> None:
    alpha = torch.tensor([[0.0, 1.0, -1.0, 0.5], [2.0, 2.0, 0.0, -torch.inf]], dtype=torch.float64)
    draws, part = 20_000, GumbelOneHot(tau, tau)
    repeated = alpha.repeat(draws, 1)
    mixture = part.mixture(repeated, moment(seed=4))
    counts = mixture.operations.unflatten(0, (draws, 2)).sum(0)
    expected = alpha.softmax(dim=1) * draws
    deviation = (expected * (1 - expected / draws)).sqrt()
    assert ((counts - expected).abs() <= 4 * deviation + 1e-9).all()
    assert counts[1, 3] == 0


def test_temperature_falls_linearly_and_stays_at_its_end() -> None:
    part = GumbelOneHot(10.0, 0.1)
    assert [part.tau(moment(epoch=e, epochs=5)) for e in range(6)] == pytest.approx(
        [10.0, 7.525, 5.05, 2.575, 0.1, 0.1], rel=1e-12
    )
    assert part.tau(moment(epoch=0, epochs=1)) == 10.0
    assert part.tau(moment(epoch=249, epochs=250)) == pytest.approx(0.1)
    alpha = torch.zeros(6, 5, dtype=torch.float64, requires_grad=True)
    sizes = []
    for epoch in (0, 4):
        hard = part.mixture(alpha, moment(3, epoch, 5)).operations
        sizes.append(torch.autograd.grad(hard[:, 0].sum(), alpha)[0].abs().max())
    noise = gumbel_noise(alpha, torch.Generator().manual_seed(3))
    for size, tau in zip(sizes, (10.0, 0.1), strict=True):
        hard = straight_through(alpha, noise, tau).hard
        check(size, torch.autograd.grad(hard[:, 0].sum(), alpha)[0].abs().max())
    assert sizes[0] != sizes[1]


def test_the_same_seed_draws_the_same_and_kinds_draw_on() -> None:
    alpha, part = torch.randn(14, 8), GumbelOneHot()
    first, again = part.mixture(alpha, moment(5)), part.mixture(alpha, moment(5))
    assert torch.equal(first.operations, again.operations)
    other = part.mixture(alpha, moment(6))
    assert not torch.equal(first.operations, other.operations)
    now = moment(5)
    normal, reduce = (part.mixture(alpha, now) for _ in range(2))
    assert torch.equal(normal.operations, first.operations)
    assert not torch.equal(normal.operations, reduce.operations)
    before = torch.get_rng_state()
    part.mixture(alpha, now)
    assert torch.equal(torch.get_rng_state(), before)
    single, double = (gumbel_noise(alpha.to(kind), moment(1).generator) for kind in (torch.float32, torch.float64))
    assert torch.equal(single, double.float())


def test_noise_that_is_not_finite_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = [torch.zeros(2, 2).double(), torch.ones(2, 2).double()]
    monkeypatch.setattr(Tensor, "exponential_", lambda self, generator: drawn.pop(0))
    assert torch.equal(gumbel_noise(torch.empty(2, 2), torch.Generator()), torch.zeros(2, 2))
    assert drawn == []


def test_evaluation_takes_the_most_probable_or_a_sample() -> None:
    alpha = torch.randn(14, 8, requires_grad=True)
    mixture = GumbelOneHot().mixture(alpha, moment(purpose="evaluation"))
    assert torch.equal(mixture.operations, F.one_hot(alpha.argmax(1), 8).float())
    assert torch.equal(mixture.active, mixture.operations.bool())
    sampled = GumbelOneHot(evaluation="sampled", ghost_gradient=True).mixture(alpha, moment(2, purpose="evaluation"))
    assert torch.equal(sampled.operations, GumbelOneHot().mixture(alpha, moment(2)).operations)
    assert not torch.equal(sampled.operations, mixture.operations)
    assert sampled.offsets is None
    check(GumbelOneHot().strength(alpha), alpha.softmax(1))


def test_only_the_step_of_alpha_pays_for_ghosts() -> None:
    alpha, part = torch.randn(14, 8, requires_grad=True), GumbelOneHot(ghost_gradient=True)
    assert part.mixture(alpha, moment(purpose="weights")).offsets is None
    offsets = part.mixture(alpha, moment()).offsets
    assert offsets is not None
    assert torch.equal(offsets, torch.zeros(14))
    assert torch.autograd.grad(offsets.sum(), alpha)[0].any()
    assert GumbelOneHot().mixture(alpha, moment()).offsets is None


@pytest.mark.parametrize("space", [DARTS, NASBench201], ids=lambda space: space.name)
def test_one_operation_of_each_edge_is_computed(space: SearchSpace) -> None:
    network = Supernet(space, channels=4, **({"layers": 3} if space is DARTS else {"cells": 1}))
    calls: list[int] = []
    for name, module in network.named_modules():
        if isinstance(module, Operation) and ".edge." in name:
            module.register_forward_hook(lambda _, args, __: calls.append(len(args[1])))
    alphas = {kind: torch.randn(cell.shape) for kind, cell in space.cells.items()}
    now = moment(7)
    mixtures = {kind: GumbelOneHot().mixture(alpha, now) for kind, alpha in alphas.items()}
    network(torch.randn(2, 3, 8, 8), mixtures)
    computed = {
        kind: sum(
            edge.operations[column] != "none"
            for edge, column in zip(cell.edges, mixtures[kind].operations.argmax(1).tolist(), strict=True)
        )
        for kind, cell in space.cells.items()
    }
    expected = computed["normal"] + 2 * computed["reduce"] if space is DARTS else 3 * computed["cell"]
    assert sum(calls) == expected > 0


@pytest.mark.parametrize("name", ["tau_start", "tau_end"])
@pytest.mark.parametrize("value", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"Expected `{name}` to be positive, but got "):
        GumbelOneHot(**{name: value})


def test_an_unknown_evaluation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `evaluation` to be 'argmax' or 'sampled', but got 'best'"):
        GumbelOneHot(evaluation="best")  # type: ignore[arg-type]
