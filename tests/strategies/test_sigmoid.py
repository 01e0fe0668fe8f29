"""Sigmoid weights, the zero-one loss and the steps of α are those of FairDARTS."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from golden import check, golden, part
from torch import Tensor

from robustnas.networks import Supernet
from robustnas.spaces import DARTSFewerEdges
from robustnas.strategies import (
    EntropyPenalty,
    LpSparsity,
    Penalty,
    RandomPerturbation,
    Sigmoid,
    Softmax,
    StepContext,
    Threshold,
    ZeroOne,
)
from robustnas.training.search import SearchModule

KINDS = ("normal", "reduce")
CONTEXT = StepContext("arch", 0, 1, torch.Generator())


class Case:
    def __init__(self) -> None:
        self.arrays, self.meta = golden("fairdarts")
        self.bounds = self.meta["tolerances"]
        self.network = Supernet(DARTSFewerEdges, self.meta["C"], self.meta["layers"]).double()
        self.network.load_edgewise_state_dict(part(self.arrays, "w/"))
        self.alphas = {kind: self.arrays[f"alpha/{kind}"].clone().requires_grad_() for kind in KINDS}

    def cross_entropy(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        mixtures = {kind: Sigmoid().mixture(alpha, CONTEXT) for kind, alpha in self.alphas.items()}
        logits = self.network(images, mixtures)
        return F.cross_entropy(logits, targets), logits

    def penalty(self, form: Any, weight: float = 10.0) -> Tensor:
        shares = {kind: Sigmoid().shares(alpha) for kind, alpha in self.alphas.items()}
        return ZeroOne(weight, form).of(self.alphas, shares, CONTEXT)

    def slopes(self, loss: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, list(self.alphas.values()), retain_graph=True)


def test_logits_losses_and_gradients_are_those_of_the_original() -> None:
    case = Case()
    out = part(case.arrays, "out/")
    plain, logits = case.cross_entropy(case.arrays["x_train"], case.arrays["y_train"])
    check(logits, out["logits"], **case.bounds["forward"])
    check(plain, out["cross_entropy"], **case.bounds["forward"])
    check(plain + case.penalty("l2"), out["loss"], **case.bounds["forward"])
    for form in ("l2", "l1"):
        check(case.penalty(form, 1.0), out[f"zero_one_{form}"], **case.bounds["forward"])
    losses = {
        "grad_alpha": plain + case.penalty("l2"),
        "grad_alpha_l1": plain + case.penalty("l1"),
        "grad_alpha_cross_entropy": plain,
    }
    for name, loss in losses.items():
        for kind, gradient in zip(KINDS, case.slopes(loss), strict=True):
            check(gradient, out[f"{name}/{kind}"], **case.bounds["gradient"])
    names, weights = zip(*case.network.named_parameters(), strict=True)
    gradients = torch.autograd.grad(plain, weights)  # of the weights, where the zero-one loss has no effect
    found = case.network.edgewise_state_dict(of=dict(zip(names, gradients, strict=True)))
    expected = part(out, "grad_w/")
    assert expected
    for name, gradient in expected.items():
        check(found[name], gradient, **case.bounds["gradient"])


def test_steps_of_adam_are_those_of_the_original() -> None:
    case = Case()
    given = case.arrays["out/adam_defaults"]
    adam = torch.optim.Adam(list(case.alphas.values()), **given)
    for step in range(2):
        out = part(case.arrays, f"out/step/{step}/")
        plain, _ = case.cross_entropy(case.arrays[f"x_val/{step}"], case.arrays[f"y_val/{step}"])
        check(plain, out["cross_entropy"], **case.bounds["steps"])
        check(case.penalty("l2", 1.0), out["zero_one_l2"], **case.bounds["steps"])
        for (kind, alpha), slope in zip(case.alphas.items(), case.slopes(plain + case.penalty("l2")), strict=True):
            check(slope, out[f"alpha_grad/{kind}"], **case.bounds["steps"])
            alpha.grad = slope
        adam.step()
        for kind, alpha in case.alphas.items():
            check(alpha, out[f"alpha/{kind}"], **case.bounds["steps"])


def test_a_sigmoid_is_its_formula_and_each_operation_stands_by_itself() -> None:
    alpha = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    weights = Sigmoid().mixture(alpha, CONTEXT).operations
    expected = [[1 / (1 + math.exp(-value)) for value in row] for row in alpha.tolist()]
    check(weights, torch.tensor(expected, dtype=torch.float64))
    slope = torch.randn(3, 4, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(weights, alpha, slope)
    check(gradient, slope * weights * (1 - weights))
    order = torch.tensor([2, 0, 3, 1])
    assert torch.equal(Sigmoid().shares(alpha[:, order]), Sigmoid().shares(alpha)[:, order])
    assert torch.equal(Sigmoid().shares(torch.zeros(2, 3)), torch.full((2, 3), 0.5))
    gone = alpha.detach().masked_fill(torch.eye(3, 4, dtype=torch.bool), -torch.inf)
    assert bool((Sigmoid().shares(gone).diagonal() == 0).all())


@pytest.mark.parametrize(("form", "least"), [("l2", -0.25), ("l1", -0.5)])
def test_the_zero_one_loss_is_a_mean_over_all_candidates_and_least_at_the_ends(form: Any, least: float) -> None:
    one = ZeroOne(1.0, form)
    alphas = {"normal": torch.randn(5, 3).double(), "reduce": torch.randn(2, 4).double()}
    alphas["normal"][0, 1] = -torch.inf  # no such candidate
    shares = {kind: Sigmoid().shares(alpha) for kind, alpha in alphas.items()}
    values = [s for kind in alphas for s, a in zip(*(x[kind].flatten().tolist() for x in (shares, alphas)), strict=True)
              if math.isfinite(a)]  # fmt: skip
    away = [abs(value - 0.5) ** (2 if form == "l2" else 1) for value in values]
    assert len(values) == 22
    assert float(one.of(alphas, shares, CONTEXT)) == pytest.approx(-sum(away) / 22, rel=1e-12)
    ends = {"cell": torch.tensor([[900.0, -900.0]], dtype=torch.float64)}
    assert float(one.of(ends, {"cell": ends["cell"].sigmoid()}, CONTEXT)) == least
    middle = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    value = one.of({"cell": middle}, {"cell": middle.sigmoid()}, CONTEXT)
    value.backward()
    assert float(value) == 0
    assert bool((middle.grad == 0).all())
    alpha = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: one.of({"cell": a}, {"cell": a.sigmoid()}, CONTEXT), alpha)
    assert float(ZeroOne(3.0, form).of(alphas, shares, CONTEXT)) == pytest.approx(-3 * sum(away) / 22, rel=1e-12)


def search(**options: Any) -> SearchModule:
    return SearchModule(**{"space": DARTSFewerEdges, "channels": 2, "layers": 3, **options})


def test_parts_that_mean_nothing_for_the_shares_are_refused() -> None:
    for penalty in (LpSparsity(), EntropyPenalty()):
        with pytest.raises(
            ValueError, match=r"do not sum to one, as those of the relaxation `Sigmoid`, but got `\w+y`, which is"
        ):
            search(relaxation=Sigmoid(), penalty=penalty)
        search(penalty=penalty)
    with pytest.raises(ValueError, match="rows sum to one, as those of the relaxation `Softmax`, but got `Zero"):
        search(relaxation=Softmax(), penalty=ZeroOne())
    with pytest.raises(ValueError, match=r"^Expected `perturbation` to be `Unperturbed` beside the relaxation `Sig"):
        search(relaxation=Sigmoid(), perturbation=RandomPerturbation())
    with pytest.raises(ValueError, match=r"^Expected no `edge_weights` with the selection `Threshold`, whose"):
        search(relaxation=Sigmoid(), selection=Threshold(), edge_weights=True)
    assert isinstance(search(relaxation=Sigmoid(), penalty=ZeroOne(), edge_weights=True).penalty, Penalty)


def test_arguments_out_of_range_are_refused() -> None:
    sentences = {
        "Expected `weight` to be zero or more, but got -1.0.": lambda: ZeroOne(-1.0),
        "Expected `weight` to be zero or more, but got nan.": lambda: ZeroOne(math.nan),
        "Expected `form` to be 'l2' or 'l1', but got 'l3'.": lambda: ZeroOne(1.0, "l3"),  # type: ignore[arg-type]
    }
    for sentence, call in sentences.items():
        with pytest.raises(ValueError, match=re.escape(sentence)):
            call()
