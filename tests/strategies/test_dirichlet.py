"""The Dirichlet relaxation and its divergence: values of the original, torch's own distributions, closed forms."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from golden import check, golden, listing
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence

from robustnas.curvature import Hessian
from robustnas.networks import Mixture
from robustnas.spaces import DARTSWithoutNone
from robustnas.strategies import DirichletKL, DirichletSample, StepContext, Strongest
from robustnas.strategies.dirichlet_sample import concentration, divided, draw, pathwise

KINDS = ("normal", "reduce")


def context(phase: Any = "arch", seed: int = 0) -> StepContext:
    return StepContext(phase, 0, 10, torch.Generator().manual_seed(seed))


def masked(alpha: Tensor, mask: Tensor) -> Tensor:
    return alpha.masked_fill(mask == 0, -torch.inf)


def test_concentrations_and_derivatives_of_samples_are_those_of_the_original() -> None:
    arrays, meta = golden("drnas")
    for kind in KINDS:
        alpha = arrays[f"alpha/{kind}"].clone().requires_grad_()
        c = concentration(alpha)
        check(c, arrays[f"out/concentration/{kind}"], **meta["tolerances"]["values"])
        sample = pathwise(arrays[f"out/sample/{kind}"], c)
        assert torch.equal(sample.detach(), arrays[f"out/sample/{kind}"])
        (slopes,) = torch.autograd.grad((sample * arrays[f"out/upstream/{kind}"]).sum(), alpha)
        limits = {name: meta["tolerances"]["grad_alpha_of_sample"][name] for name in ("rtol", "atol")}
        check(slopes, arrays[f"out/grad_alpha_of_sample/{kind}"], **limits)


def test_the_divergence_is_that_of_the_original() -> None:
    arrays, meta = golden("drnas")
    alphas = {kind: arrays[f"alpha/{kind}"].clone().requires_grad_() for kind in KINDS}
    for over in ("all", "active"):
        value = DirichletKL(over=over).of(alphas, {}, context())
        check(value, arrays["out/kl_reg"], **meta["tolerances"]["values"])
        for kind, slopes in zip(KINDS, torch.autograd.grad(value, list(alphas.values())), strict=True):
            check(slopes, arrays[f"out/grad_kl/{kind}"], **meta["tolerances"]["gradients"])


def test_after_pruning_the_divergence_is_that_of_the_original_where_operations_are_left() -> None:
    """In the original pruned operations have a gradient too, and move on; here they rest."""
    arrays, meta = golden("drnas_progressive")
    alphas = {kind: arrays[f"out/pruned_alpha/{kind}"].clone().requires_grad_() for kind in KINDS}
    value = DirichletKL().of({k: masked(a, arrays[f"out/mask/{k}"]) for k, a in alphas.items()}, {}, context())
    check(value, arrays["out/kl_after_pruning"], **meta["tolerances"]["forward"])
    for kind, slopes in zip(KINDS, torch.autograd.grad(value, list(alphas.values())), strict=True):
        mask = arrays[f"out/mask/{kind}"]
        check(slopes, arrays[f"out/grad_kl_after_pruning/{kind}"] * mask, **meta["tolerances"]["gradient"])


def test_genotypes_of_the_original_are_ranked_by_the_softmax() -> None:
    arrays, _ = golden("drnas")
    relaxation = DirichletSample(ranking="softmax")
    for place, expected in enumerate(arrays["out/genotypes"]):
        shares = {kind: relaxation.shares(arrays[f"alpha/genotype_{kind}"][place]) for kind in KINDS}
        found = listing(Strongest().genotype(DARTSWithoutNone, shares))
        for kind in KINDS:
            for node in range(4):
                ours, theirs = (sorted(one[kind][2 * node : 2 * node + 2]) for one in (found, expected))
                assert ours == theirs


def test_masked_samples_are_those_of_the_original() -> None:
    arrays, meta = golden("drnas")
    for kind in KINDS:
        found = divided(arrays[f"out/masked_raw_sample/{kind}"].log(), arrays[f"out/mask/{kind}"] == 1)
        check(found, arrays[f"out/masked_sample/{kind}"], **meta["tolerances"]["values"])


@pytest.mark.parametrize("left", [7, 4, 2])
def test_the_derivative_is_that_of_torch_on_what_is_left(left: int) -> None:
    alpha = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    gone = torch.arange(7) >= left
    c = concentration(alpha.masked_fill(gone, -torch.inf))
    torch.manual_seed(left)
    theirs = Dirichlet(concentration(alpha)[:, :left]).rsample()
    upstream = torch.randn(5, left, dtype=torch.float64)
    ours = pathwise(F.pad(theirs.detach(), (0, 7 - left)), c)
    (expected,) = torch.autograd.grad((theirs * upstream).sum(), alpha)
    (found,) = torch.autograd.grad((ours[:, :left] * upstream).sum(), alpha)
    check(found, expected, rtol=1e-9, atol=1e-12)
    assert (found[:, left:] == 0).all()


def test_samples_have_the_moments_of_the_distribution() -> None:
    alpha = torch.tensor([[1.0, -0.5, 0.0, -2.0, -torch.inf]], dtype=torch.float64)
    c = concentration(alpha)
    samples = draw(c.expand(40_000, -1), torch.Generator().manual_seed(0))
    assert torch.allclose(samples.sum(dim=1), torch.ones((), dtype=torch.float64))
    truth = Dirichlet(c[0, :4])
    check(samples[:, :4].mean(dim=0), truth.mean, rtol=0, atol=5e-3)
    check(samples[:, :4].var(dim=0), truth.variance, rtol=0.05, atol=0)
    assert (samples[:, 4] == 0).all()


def test_the_derivative_of_a_mean_over_samples_is_that_of_the_mean() -> None:
    """The pathwise derivative has no bias, with operations masked or not."""
    alpha = torch.tensor([[0.8, -0.7, 0.1, -torch.inf]], dtype=torch.float64, requires_grad=True)
    c = concentration(alpha).expand(60_000, -1)
    sampled = pathwise(draw(c, torch.Generator().manual_seed(3)), c)
    (found,) = torch.autograd.grad(sampled[:, 0].square().mean(), alpha)
    ours = concentration(alpha)
    total = ours.sum()
    second = ours[0, 0] * (ours[0, 0] + 1) / (total * (total + 1))  # E x² in closed form
    (expected,) = torch.autograd.grad(second, alpha)
    check(found, expected, rtol=0.05, atol=3e-3)


def test_the_mixture_is_a_sample_in_steps_and_the_mean_in_evaluation() -> None:
    alpha = torch.randn(3, 4).masked_fill(torch.tensor([[True, False, False, False]] * 3), -torch.inf)
    mean = alpha.exp().where(alpha < 0, alpha + 1)
    mean = mean / mean.sum(dim=1, keepdim=True)
    relaxation = DirichletSample()
    assert isinstance(relaxation.mixture(alpha, context()), Mixture)
    first, again, other = (relaxation.mixture(alpha, context(seed=s)).operations for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    for one in (first, other):
        assert (one[:, 0] == 0).all()
        torch.testing.assert_close(one.sum(dim=1), torch.ones(3))
    for found in (
        relaxation.mixture(alpha, context("evaluation")).operations,
        relaxation.shares(alpha),
        DirichletSample("sampled").expected(alpha, context("evaluation")).operations,
    ):
        torch.testing.assert_close(found, mean)
    sampled = DirichletSample("sampled").mixture(alpha, context("evaluation")).operations
    assert (sampled - mean).abs().max() > 1e-3
    torch.testing.assert_close(DirichletSample(ranking="softmax").shares(alpha), alpha.softmax(dim=1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_alphas_and_single_operations_stay_finite(dtype: torch.dtype) -> None:
    alone = torch.tensor([-torch.inf, 0.3, -torch.inf])
    rows = [[30.0, -30.0, 0.0], [-200.0, -200.0, -200.0], [-20.0, -20.5, -19.0], [1e4, 1e4, -9.0], alone.tolist()]
    alpha = torch.tensor(rows, dtype=dtype, requires_grad=True)
    for seed in range(30):
        mixed = DirichletSample().mixture(alpha, context(seed=seed)).operations
        torch.testing.assert_close(mixed.sum(dim=1), torch.ones(5, dtype=dtype))
        (slopes,) = torch.autograd.grad((mixed * torch.randn(5, 3, dtype=dtype)).sum(), alpha)
        assert slopes.isfinite().all()
        assert (slopes[4] == 0).all()
    for over in ("all", "active"):
        penalty = DirichletKL(over=over).of({"cell": alpha}, {}, context())
        (slopes,) = torch.autograd.grad(penalty, alpha)
        assert penalty.isfinite()
        assert slopes.isfinite().all()


def test_the_divergence_is_that_of_torch_and_zero_at_zero() -> None:
    alpha = torch.randn(6, 5, dtype=torch.float64)
    mask = torch.ones(6, 5, dtype=torch.long)
    mask[2, 3], mask[4, :2] = 0, 0
    uniform, kept = [], []
    for row, left in zip(alpha, mask, strict=True):
        c = concentration(row)
        uniform.append(kl_divergence(Dirichlet(c.where(left == 1, 1.0)), Dirichlet(torch.ones(5).double())))
        ones = torch.ones(int(left.sum()), dtype=torch.float64)
        kept.append(kl_divergence(Dirichlet(c[left == 1]), Dirichlet(ones)))
    given = {"one": masked(alpha, mask)[:2], "other": masked(alpha, mask)[2:]}
    for over, expected in (("all", uniform), ("active", kept)):
        check(DirichletKL(0.3, over).of(given, {}, context()), 0.3 * torch.stack(expected).sum(), rtol=1e-10)
        zero = {kind: 0 * row.masked_fill(row.isinf(), math.nan).nan_to_num(0) for kind, row in given.items()}
        check(DirichletKL(0.3, over).of(zero, {}, context()), torch.zeros((), dtype=torch.float64))


def test_the_gradient_of_the_divergence_agrees_with_central_differences() -> None:
    alpha = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    for over in ("all", "active"):
        penalty = DirichletKL(0.7, over)
        assert torch.autograd.gradcheck(lambda a, p=penalty: p.of({"cell": a}, {}, context()), alpha)


def test_second_derivatives_are_those_of_the_linear_surrogate() -> None:
    alpha = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    quadratic = torch.randn(8, 8, dtype=torch.float64)
    quadratic = quadratic + quadratic.T
    c = concentration(alpha)
    sample = pathwise(draw(c, torch.Generator().manual_seed(0)), c)
    flat = sample.flatten()
    matrix = Hessian(flat @ quadratic @ flat, [alpha]).dense()
    check(matrix, matrix.T, rtol=1e-9, atol=1e-9)
    jacobian = torch.stack([torch.autograd.grad(x, alpha, retain_graph=True)[0].flatten() for x in flat])
    by_sample = 2 * quadratic @ flat.detach()
    per_c = (jacobian / torch.where(alpha > 0, 1.0, alpha.exp()).detach().flatten()).T @ by_sample
    bend_of_c = torch.where(alpha > 0, 0.0, alpha.exp()).detach().flatten()
    check(matrix, 2 * jacobian.T @ quadratic @ jacobian + torch.diag(per_c * bend_of_c), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DirichletSample("argmax"), "Expected `evaluation` to be 'mean' or 'sampled', but got 'argmax'."),
        (lambda: DirichletSample(ranking="mode"), "Expected `ranking` to be 'mean' or 'softmax', but got 'mode'."),
        (lambda: DirichletKL(-1.0), "Expected `weight` to be zero or more, but got -1.0."),
        (lambda: DirichletKL(over="kept"), "Expected `over` to be 'all' or 'active', but got 'kept'."),
    ],
)
def test_wrong_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        make()
