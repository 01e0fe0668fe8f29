"""α on the simplex: exponentiated gradient and its projection, against closed forms and the original."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import check, golden, listing
from robustnas.variants import DARTS
from tables import check_each
from torch import Tensor
from torch.nn.functional import cross_entropy

from robustnas.networks import PartialChannels, Supernet
from robustnas.spaces import DARTS as SPACE
from robustnas.strategies import Adam, Direct, ExponentiatedGradient, ShareThreshold, Softmax, StepContext, Strongest
from robustnas.training.architecture_parameters import by_node

MOMENT = StepContext("arch", 0, 1, torch.Generator())
KINDS = ("normal", "reduce")
GAEA: dict[str, Any] = {
    "relaxation": Direct(),
    "arch_optimizer": ExponentiatedGradient(),
    "arch_lr": 0.1,
    "arch_weight_decay": 0.0,
    "alpha_init": 0.0,
}


def rows(count: int = 14, operations: int = 8, seed: int = 3) -> Tensor:
    return torch.randn(count, operations, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def descend(weights: Tensor, gradients: Tensor, lr: float, project: Any) -> Tensor:
    """The weights after each step of the optimiser with a projection, ``[steps, ...]``."""
    parameter, found = weights.clone().requires_grad_(), []
    optimizer = ExponentiatedGradient().build([parameter], lr, (0.5, 0.999), 0.0)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
        with torch.no_grad():
            parameter.copy_(project(parameter))
        found.append(parameter.detach().clone())
    assert optimizer.state_dict()["state"] == {}
    return torch.stack(found)


def on_rows(part: Direct) -> Any:
    return lambda after: part.project_alpha(after, after, MOMENT)


def test_without_a_floor_it_is_a_softmax_of_all_gradients_so_far() -> None:
    start, gradients = rows().softmax(dim=-1), torch.stack([rows(seed=10 + k) for k in range(6)])
    found = descend(start, gradients, 0.3, on_rows(Direct(floor=0.0)))
    expected = (start.log() - 0.3 * gradients.cumsum(dim=0)).softmax(dim=-1)
    check(found, expected, rtol=1e-12, atol=1e-14)


def test_the_projection_clamps_and_divides_in_the_order_asked_for() -> None:
    def by_hand(row: list[float], floor: float, last: bool) -> list[float]:
        row = row if last else [max(value, floor) for value in row]
        row = [value / sum(row) for value in row]
        return [max(value, floor) for value in row] if last else row

    def correct(floor: float, last: bool) -> None:
        after = rows().exp().pow(6)
        expected = [by_hand(row, floor, last) for row in after.tolist()]
        found = Direct(floor, clamp_last=last).project_alpha(after, after, MOMENT)
        check(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-13, atol=0)

    check_each([(floor, last) for floor in (0.0, 1e-5, 0.02) for last in (False, True)], lambda row: correct(*row))


def test_operations_that_left_are_exactly_zero_and_learn_nothing() -> None:
    alpha = rows().softmax(dim=-1).masked_fill(torch.arange(8) > 5, -torch.inf)
    part = Direct()
    projected = part.project_alpha(alpha, alpha, MOMENT)
    assert not projected[:, 6:].any()
    check(projected.sum(1), torch.ones(14, dtype=torch.float64), rtol=1e-14)
    leaf = alpha.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((part.mixture(leaf, MOMENT).operations * rows(seed=4)).sum(), leaf)
    assert torch.equal(gradient, rows(seed=4).masked_fill(torch.arange(8) > 5, 0.0))
    assert torch.equal(part.shares(alpha)[:, :6], alpha[:, :6])


def test_steps_of_any_size_stay_finite() -> None:
    start = torch.full((1, 4), 0.25)
    gradients = torch.tensor([[[1e9, -1e9, 0.0, 1e4]], [[0.0, 1e30, 0.0, 0.0]]])
    found = descend(start, gradients, 0.1, on_rows(Direct()))
    assert found.isfinite().all()
    check(found.sum(-1), torch.ones(2, 1), rtol=1e-6)
    beta = descend(torch.full((3,), 1 / 3), torch.tensor([[1e9, -1e9, 0.0]]), 0.1, Direct().project_beta)
    assert beta.isfinite().all()


def test_the_start_is_uniform_over_the_candidates_of_an_edge() -> None:
    for space in ("DARTS", "S1", "NASBench201"):
        size = {"cells": 1} if space == "NASBench201" else {"layers": 3}
        search = DARTS(space=space, channels=4, edge_weights=True, **size, **GAEA)
        for kind, cell in search.space.cells.items():
            alpha, mask = search.alphas[kind].detach(), search.architecture.candidate_mask[kind]
            counts = torch.tensor([[len(edge.operations)] for edge in cell.edges])
            assert torch.equal(alpha, torch.where(mask, 1 / counts, 0.0))
            inputs = torch.tensor([len(cell.edges_into(edge.node)) for edge in cell.edges])
            check(search.betas[kind], 1 / inputs, rtol=1e-6)
            assert torch.equal(search.mixtures(MOMENT)[kind].operations, alpha)
            assert torch.equal(search.architecture.edge_weights(kind), search.betas[kind])  # type: ignore[arg-type]
    drawn = DARTS(space="DARTS", channels=4, layers=3, **{**GAEA, "alpha_init": 1.0}).alphas["normal"].detach()
    check(drawn.sum(1), torch.ones(14), rtol=1e-6)
    assert drawn.max() > 0.3


def test_what_is_left_after_pruning_sums_to_one_at_once() -> None:
    search = DARTS(space="DARTS", channels=4, layers=3, **{**GAEA, "alpha_init": 1.0}).double()
    shares, context = search.shares(), search.context("arch")
    rule = ShareThreshold(0.1, 0.1)
    search.architecture.prune(rule.prune(search.space, shares, search.architecture.active_mask, context), context)
    for kind, mask in search.architecture.active_mask.items():
        left = shares[kind].where(mask, 0.0)
        assert not mask.all()
        check(search.mixtures(context)[kind].operations, left / left.sum(1, keepdim=True), rtol=1e-12)
        assert not search.alphas[kind][~mask].any()
        check(search.shares()[kind].sum(1), torch.ones(14).double(), rtol=1e-12)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        (
            {"relaxation": Direct()},
            r"Expected `arch_optimizer` to be `ExponentiatedGradient` beside .*, but got `Adam`",
        ),
        ({"arch_optimizer": ExponentiatedGradient()}, r"Expected `relaxation` to be `Direct` .* but got `Softmax`"),
        ({**GAEA, "arch_weight_decay": 1e-3}, r"Expected `arch_weight_decay` to be 0 .* but got 0\.001"),
    ],
)
def test_steps_that_leave_the_simplex_are_refused(parts: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        DARTS(space="NASBench201", channels=4, cells=1, **parts)
    DARTS(space="NASBench201", channels=4, cells=1, relaxation=Softmax(), arch_optimizer=Adam())


def test_a_floor_out_of_range_is_refused() -> None:
    def correct(floor: float) -> None:
        with pytest.raises(ValueError, match=r"Expected `floor` to be zero or more and below one, but got "):
            Direct(floor)

    check_each([-1e-9, 1.0, float("nan")], correct)


@pytest.mark.parametrize("case", ["edarts", "edarts_entropy", "eedarts"])
def test_steps_are_those_of_the_original(case: str) -> None:
    arrays, meta = golden("gaea")
    numbers, hyper = meta["tolerances"]["all"], meta["hyperparameters"]
    for kind in KINDS:
        held = {name: arrays[f"out/{case}/{name}/{kind}"] for name in ("weights_start", "objective_gradient")}
        weights, gradients = held["weights_start"], held["objective_gradient"]
        for step, expected in enumerate(arrays[f"out/{case}/weights_after/{kind}"]):
            entropy = hyper["entropy_coefficient"][case] * ((weights * hyper["n_ops"]).log() + 1)
            weights = descend(weights, (gradients[step] + entropy)[None], hyper["lr"], on_rows(Direct()))[0]
            check(weights, expected, **numbers)
        check(arrays[f"out/{case}/default_weights/{kind}"], Direct().initial(torch.zeros(14, 8)).double(), rtol=1e-7)
    if case == "eedarts":
        cell, part = SPACE.cells["normal"], Direct()  # the edges of both kinds are the same
        for kind in KINDS:
            check(arrays[f"out/{case}/default_edges/{kind}"], by_node(cell, torch.zeros(14).double(), part.initial))
            start, gradients = (arrays[f"out/{case}/{name}/{kind}"] for name in ("edges_start", "edge_gradient"))
            found = descend(start, gradients, hyper["edge_lr"], lambda beta: by_node(cell, beta, part.project_beta))
            check(found, arrays[f"out/{case}/edges_after/{kind}"], **numbers)


def test_the_order_of_the_sampled_variant_is_a_switch() -> None:
    arrays, meta = golden("gaea")
    hyper = meta["hyperparameters"]
    for kind in KINDS:
        weights, gumbel, slope, expected = (
            arrays[f"out/egdas/{name}/{kind}"]
            for name in ("weights_start", "gumbel", "objective_gradient", "weights_after")
        )
        leaf = weights.clone().requires_grad_()
        soft = ((leaf.log() + gumbel) / arrays["out/egdas/tau"]).softmax(dim=-1)
        entropy = hyper["entropy_coefficient"]["egdas"] * (leaf * (leaf * hyper["n_ops"]).log()).sum()
        (gradient,) = torch.autograd.grad((soft * slope).sum() + entropy, leaf)
        found = descend(weights, gradient[None], hyper["lr"], on_rows(Direct(clamp_last=True)))[0]
        check(found, expected, **meta["tolerances"]["all"])


def test_gaea_pc_darts_is_that_of_the_original() -> None:
    arrays, meta = golden("gaea_pc_darts")
    network = Supernet("DARTS", channels=meta["C"], layers=meta["layers"], connection=PartialChannels(meta["k"]))
    network = network.double()
    network.load_edgewise_state_dict(
        {name.removeprefix("w/"): a for name, a in arrays.items() if name.startswith("w/")}
    )
    search = DARTS(space="DARTS", channels=4, layers=3, edge_weights=True, **GAEA).double()
    architecture = search.architecture
    with torch.no_grad():
        for kind in KINDS:
            search.alphas[kind].copy_(arrays[f"alpha/{kind}"])
            search.betas[kind].copy_(arrays[f"edges/{kind}"])
    optimizer = ExponentiatedGradient().build(search.arch_parameters, 0.1, (0.5, 0.999), 0.0)
    for step in range(3):
        logits = network(arrays[f"x_val/{step}"], search.mixtures(MOMENT))
        loss = cross_entropy(logits, arrays[f"y_val/{step}"])
        slopes = torch.autograd.grad(loss, search.arch_parameters)
        if step == 0:
            check(logits, arrays["out/logits"], **meta["tolerances"]["forward"])
            check(loss, arrays["out/loss"], **meta["tolerances"]["forward"])
            names = [f"out/grad_{what}/{kind}" for what in ("weights", "edges") for kind in KINDS]
            for slope, name in zip(slopes, names, strict=True):
                check(slope, arrays[name], **meta["tolerances"]["gradient"])
        for parameter, slope in zip(search.arch_parameters, slopes, strict=True):
            parameter.grad = slope
        before = architecture.legal_alphas()
        optimizer.step()
        architecture.project(before, MOMENT)
        for kind in KINDS:
            check(search.alphas[kind], arrays[f"out/step/{step}/weights/{kind}"], **meta["tolerances"]["steps"])
            check(search.betas[kind], arrays[f"out/step/{step}/edges/{kind}"], **meta["tolerances"]["steps"])
    found = listing(Strongest().genotype(SPACE, architecture.architecture_weights()))
    assert {kind: found[kind] for kind in KINDS} == {kind: arrays["out/genotype"][kind] for kind in KINDS}
