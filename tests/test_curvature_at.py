"""What a Hessian is taken of: in full precision wherever it is asked for, and of which function of α."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack

import pytest
import torch
from torch import Tensor, nn

from robustnas.curvature import Hessian
from robustnas.curvature.spectrum import Mean
from robustnas.networks import Mixture, Supernet
from robustnas.spaces import find_space
from robustnas.strategies import GumbelOneHot, Relaxation, Softmax, Sparsemax, StepContext
from robustnas.strategies.gumbel_one_hot import gumbel_noise, straight_through

SPACE = find_space("NASBench201")
Function = Callable[[Sequence[Tensor]], Tensor]


def problem(dtype: torch.dtype, relaxation: Relaxation | None = None, sample: int = 0) -> tuple[Function, Tensor]:
    """The loss of a small supernet as a function of α, and α."""
    generator = torch.Generator().manual_seed(7)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = Supernet(SPACE, 4, cells=1).to(dtype).requires_grad_(False)
    images = torch.randn(6, 3, 8, 8, generator=generator).to(dtype)
    labels = torch.randint(10, (6,), generator=generator)

    def loss(alphas: Sequence[Tensor]) -> Tensor:
        context = StepContext("arch", 0, 1, torch.Generator().manual_seed(sample))
        mixtures = {"cell": (relaxation or Softmax()).mixture(alphas[0], context)}
        return nn.functional.cross_entropy(network(images, mixtures), labels)

    return loss, torch.randn(SPACE.cells["cell"].shape, generator=generator)


def exact(function: Function, alpha: Tensor) -> Tensor:
    """The whole matrix through another way of the graph."""
    return torch.autograd.functional.hessian(lambda a: function([a]), alpha).reshape(alpha.numel(), -1)


def test_it_is_the_dense_hessian_in_double_precision_of_a_single_precision_alpha() -> None:
    function, alpha = problem(torch.float64)
    found = Hessian.at(function, [alpha], torch.float64)
    expected = exact(function, alpha.double())
    assert found.dense().dtype == torch.float64
    assert torch.allclose(found.dense(), expected, rtol=1e-9, atol=1e-12)
    top = float(torch.linalg.eigvalsh(expected)[-1])
    assert found.dominant_eigenvalue() == pytest.approx(top, rel=1e-3)
    assert Hessian.at(function, [alpha], torch.float64, decay=0.1).dominant_eigenvalue(1e-6) == pytest.approx(top + 0.1)
    assert not alpha.requires_grad


@pytest.mark.parametrize(
    "surroundings",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16), lambda: half()],
    ids=["no_grad", "inference_mode", "autocast", "both"],
)
def test_surroundings_change_not_a_bit(surroundings: Callable[[], AbstractContextManager[object]]) -> None:
    function, alpha = problem(torch.float32)
    vector = torch.linspace(-1, 1, alpha.numel())
    expected = Hessian.at(function, [alpha]).product(vector)
    with surroundings():
        found = Hessian.at(function, [alpha])
        product, top = found.product(vector), found.dominant_eigenvalue()
    assert torch.equal(product, expected)
    assert top == Hessian.at(function, [alpha]).dominant_eigenvalue()


def half() -> ExitStack:
    stack = ExitStack()
    stack.enter_context(torch.autocast("cpu", torch.bfloat16))
    stack.enter_context(torch.no_grad())
    return stack


def test_products_stay_in_full_precision_where_only_they_are_inside_autocast() -> None:
    function, alpha = problem(torch.float32)
    leaf = alpha.clone().requires_grad_()
    loss, vector = function([leaf]), torch.linspace(-1, 1, alpha.numel())
    expected = Hessian(loss, [leaf]).product(vector)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Hessian(loss, [leaf]).product(vector), expected)


@pytest.mark.parametrize("relaxation", [Softmax(), Sparsemax(), GumbelOneHot()], ids=lambda r: type(r).__name__)
def test_single_precision_agrees_with_double_and_repeats_itself(relaxation: Relaxation) -> None:
    before = torch.get_rng_state()
    single, alpha = problem(torch.float32, relaxation)
    double, _ = problem(torch.float64, relaxation)
    fine, coarse = Hessian.at(double, [alpha], torch.float64).dense(), Hessian.at(single, [alpha]).dense()
    assert float((fine - coarse).norm() / fine.norm()) < 1e-4
    assert float((fine - fine.T).norm() / fine.norm()) < 1e-12
    assert torch.equal(coarse, Hessian.at(single, [alpha]).dense())
    assert torch.equal(before, torch.get_rng_state())


def test_of_a_sampled_relaxation_it_is_that_of_the_surrogate_at_the_sample() -> None:
    function, alpha = problem(torch.float64, GumbelOneHot(tau_start=2.0))
    found = Hessian.at(function, [alpha], torch.float64).dense()
    noise = gumbel_noise(alpha.double(), torch.Generator().manual_seed(0))
    sample = straight_through(alpha.double(), noise, 2.0)
    hot = sample.hard.detach()
    plain, _ = problem(torch.float64, _Fixed(hot.bool()))

    def surrogate(alphas: Sequence[Tensor]) -> Tensor:
        logits = (alphas[0].log_softmax(-1) + noise) / 2.0
        return plain([hot + logits.softmax(-1) - sample.shares])

    expected = exact(surrogate, alpha.double())
    assert float(expected.norm()) > 1e-3
    assert torch.allclose(found, expected, rtol=1e-8, atol=1e-10)

    def straight(alpha: Tensor) -> Tensor:
        """The straight-through gradient, whose derivative is something else."""
        a = alpha.clone().requires_grad_()
        return torch.autograd.grad(function([a]), a)[0]

    step = torch.linspace(-1, 1, alpha.numel()).double().view_as(alpha) * 1e-5
    slope = (straight(alpha.double() + step) - straight(alpha.double() - step)) / 2e-5
    curved = (found @ step.reshape(-1) / 1e-5).view_as(slope)
    assert float((slope - curved).norm()) > 0.05 * float(curved.norm())


class _Fixed(Relaxation):
    """Passes the weights of operations on, computing only some."""

    def __init__(self, active: Tensor) -> None:
        self.active = active

    def mixture(self, alpha: Tensor, context: StepContext) -> Mixture:
        return Mixture(alpha, active=self.active)


def test_the_mean_over_samples_is_that_of_their_matrices() -> None:
    functions = [problem(torch.float64, GumbelOneHot(), sample) for sample in range(3)]
    each = [Hessian.at(function, [alpha], torch.float64) for function, alpha in functions]
    matrices = torch.stack([one.dense() for one in each])
    assert float((matrices[0] - matrices[1]).norm()) > 1e-6  # the samples differ
    assert torch.allclose(Mean(each).dense(), matrices.mean(0))


def test_half_precision_and_missing_graphs_are_refused() -> None:
    x = torch.ones(2).requires_grad_()
    with pytest.raises(
        ValueError, match=r"Expected `dtype` to be torch.float32 or torch.float64, but got torch.bfloat16"
    ):
        Hessian.at(lambda p: p[0].sum(), [x], torch.bfloat16)
    low = torch.ones(2, dtype=torch.float16).requires_grad_()
    with pytest.raises(ValueError, match=r"`loss` and `parameters` in float32 or float64, but got torch.float16\."):
        Hessian((low**2).sum(), [low])
    with pytest.raises(ValueError, match=r"but got torch.bfloat16, torch.float32\."):
        Hessian((x**2).sum().bfloat16(), [x])
    with torch.no_grad(), pytest.raises(ValueError, match=r"computed while gradients are disabled\."):
        Hessian((x**3).sum(), [x])
    with pytest.raises(ValueError, match=r"at least one tensor, but got none\."):
        Hessian.at(lambda p: torch.tensor(1.0), [])
