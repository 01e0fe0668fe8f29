"""Spectrum, trace and blocks of matrices whose eigenvalues are known."""

from __future__ import annotations

import math

import pytest
import torch
from matrices import Matrix, symmetric
from torch import Tensor

from robustnas.curvature import Block, Hessian
from robustnas.curvature.spectrum import Mean, density, eigenvalues, part_blocks, row_blocks, trace


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_trace_of_few_rows_is_exact(size: int) -> None:
    matrix = Matrix(symmetric([float(k) - 2.5 for k in range(size)]))
    found = trace(matrix, probes=max(size, 2))
    assert found.value == pytest.approx(float(matrix.whole.trace()), rel=1e-12)
    assert (found.error, found.products, matrix.count) == (0.0, size, size)


def test_hutchinson_is_unbiased_with_its_stated_error() -> None:
    whole = symmetric([float(k) for k in range(-3, 7)])
    exact, probes, runs = float(whole.trace()), 8, 400
    found = [trace(Matrix(whole), probes, seeded(k)) for k in range(runs)]
    values = torch.tensor([estimate.value for estimate in found]).double()
    assert all(estimate.products == probes for estimate in found)
    theory = math.sqrt(2 * float((whole - whole.diag().diag()).square().sum()) / probes)
    assert abs(float(values.mean()) - exact) < 4 * theory / math.sqrt(runs)
    assert float(values.std()) == pytest.approx(theory, rel=0.15)
    assert sum(e.error**2 for e in found) / runs == pytest.approx(theory**2, rel=0.15)
    within = sum(abs(e.value - exact) < 2 * e.error for e in found) / runs
    assert 0.85 < within < 0.98  # Student's t with seven degrees of freedom: 0.91


def test_the_trace_of_a_diagonal_matrix_has_no_error() -> None:
    found = trace(Matrix(torch.arange(50).double().diag()), probes=4)
    assert found.value == pytest.approx(49 * 25, rel=1e-12)
    assert found.error == pytest.approx(0.0, abs=1e-10)


@pytest.mark.parametrize("measure", [lambda m, g: trace(m, 8, g), lambda m, g: density(m, 3, 5, g)[:2]])
def test_estimates_are_functions_of_their_generator_and_leave_the_global_one(measure) -> None:
    matrix, before = Matrix(symmetric([float(k) for k in range(40)])), torch.get_rng_state()
    first, same, other = (torch.stack([torch.as_tensor(x) for x in measure(matrix, seeded(s))[:2]]) for s in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    fixed = [torch.stack([torch.as_tensor(x) for x in measure(matrix, None)[:2]]) for _ in range(2)]
    assert torch.equal(*fixed)
    assert torch.equal(before, torch.get_rng_state())


def test_all_eigenvalues_of_one_matrix_or_many() -> None:
    values = [-3.0, -1e-6, 0.0, 0.0, 2.0, 1e6]
    whole = symmetric(values)
    expected = torch.tensor(values).double()
    assert torch.allclose(eigenvalues(Matrix(whole)), expected, rtol=1e-9, atol=1e-8)
    many = torch.stack([whole, -whole, torch.full_like(whole, math.inf)]).view(3, 1, 6, 6)
    found = eigenvalues(many)
    assert found.shape == (3, 1, 6)
    assert torch.allclose(found[1, 0], -expected.flip(0), rtol=1e-9, atol=1e-8)
    assert found[2].isnan().all()
    lower = whole.clone()
    lower[0, 5] += 2e-3  # rounding is shared out, not taken from one half
    assert torch.equal(eigenvalues(lower), eigenvalues(lower.T))


def test_a_density_of_few_rows_holds_the_eigenvalues() -> None:
    values = torch.tensor([-2.0, -1.0, 0.5, 4.0]).double()
    found = density(Matrix(symmetric(values.tolist())))
    assert found.exact
    assert found.products == 4
    assert torch.allclose(found.nodes, values[None])
    assert found.below(0.0) == 0.5
    assert found.mean()[:2] == (pytest.approx(0.375), 0.0)


def test_lanczos_quadrature_finds_moments_negative_mass_and_outliers() -> None:
    values = [-1.0] * 60 + [0.0] * 200 + [1 + k / 140 for k in range(139)] + [9.0]
    whole, probes, steps = symmetric(values), 10, 12
    matrix = Matrix(whole)
    found = density(matrix, probes, steps, seeded())
    assert not found.exact
    assert found.products == matrix.count == probes * steps
    assert float(found.weights.sum()) == pytest.approx(1.0, rel=1e-9)
    mean = found.mean()
    assert mean.error > 0
    assert abs(mean.value - sum(values) / 400) < 4 * mean.error
    assert found.below(-0.5) == pytest.approx(0.15, abs=0.03)
    assert float(found.nodes.max()) == pytest.approx(9.0, rel=1e-6)
    assert float(found.nodes.min()) == pytest.approx(-1.0, rel=1e-6)


def test_the_quadrature_of_a_direction_is_exact_in_its_moments() -> None:
    whole = symmetric([math.sin(k) for k in range(60)])
    found = density(Matrix(whole), probes=2, steps=5, generator=seeded())
    generator = seeded()
    direction = torch.randn(60, generator=generator, dtype=torch.float64)
    direction /= direction.norm()
    for order in range(10):
        expected = direction @ torch.linalg.matrix_power(whole, order) @ direction
        context = 2 * (found.weights[0] * found.nodes[0] ** order).sum()
        assert float(context) == pytest.approx(float(expected), abs=1e-12)
    assert abs(2 * float((found.weights[0] * found.nodes[0] ** 10).sum()) - float(
        direction @ torch.linalg.matrix_power(whole, 10) @ direction
    )) > 1e-6  # fmt: skip


@pytest.mark.parametrize(
    "values", [[0.0] * 300, [2.0] * 300, [0.0] * 299 + [5.0]], ids=["zero", "identity", "rank one"]
)
def test_lanczos_quadrature_goes_on_where_the_space_ends(values: list[float]) -> None:
    found = density(Matrix(symmetric(values)), probes=3, steps=6)
    assert float(found.weights.sum()) == pytest.approx(1.0, rel=1e-9)
    assert float(found.nodes.max()) == pytest.approx(max(values), rel=1e-9)
    mean = found.mean()
    assert abs(mean.value - sum(values) / 300) <= 4 * mean.error + 1e-12


@pytest.mark.parametrize("values", [[-1.0, 0.0, 3.0], [2.0, 2.0], [0.0, 0.0]], ids=str)
def test_a_drawn_density_integrates_to_one(values: list[float]) -> None:
    found = density(Matrix(symmetric(values)))
    points = torch.linspace(-6, 8, 14001).double()
    assert float(torch.trapezoid(found.at(points), points)) == pytest.approx(1.0, rel=1e-6)
    narrow = found.at(torch.tensor([max(values)]), width=0.01)
    assert float(narrow) == pytest.approx(values.count(max(values)) / len(values) / (0.01 * math.sqrt(2 * math.pi)))


def test_what_is_not_finite_is_nan() -> None:
    broken = Matrix(torch.full((300, 300), math.nan).double())
    assert math.isnan(trace(broken, 4).value)
    found = density(broken, 2, 3)
    assert found.nodes.isnan().all()
    assert math.isnan(found.mean().value)
    assert eigenvalues(broken).isnan().all()


def test_bad_counts_are_refused() -> None:
    matrix = Matrix(torch.eye(3).double())
    with pytest.raises(ValueError, match=r"Expected `probes` to be at least 2, but got 1\."):
        trace(matrix, 1)
    with pytest.raises(ValueError, match=r"Expected `probes` .* and `steps` at least 1, but got 4 and 0\."):
        density(matrix, 4, 0)
    with pytest.raises(
        ValueError, match=r"Expected `operators` to be matrices of one size, but got the sizes \[2, 3\]"
    ):
        Mean([matrix, Matrix(torch.eye(2).double())])
    with pytest.raises(ValueError, match=r"got the sizes \[\]"):
        Mean([])


def coupled() -> tuple[Hessian, list[Tensor]]:
    """A loss that couples all entries of a matrix of rows, a vector and a scalar."""
    generator = seeded()
    shapes = [(3, 4), (5,), ()]
    leaves = [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]
    joint = torch.cat([leaf.reshape(-1) for leaf in leaves])
    mixing = torch.randn(18, 18, generator=generator, dtype=torch.float64)
    return Hessian((mixing @ joint).tanh().square().sum() + joint.prod(), leaves), leaves


def test_blocks_are_those_of_the_dense_matrix() -> None:
    hessian, _ = coupled()
    whole = hessian.dense()
    parts, rows = part_blocks(whole, hessian.shapes), row_blocks(whole, hessian.shapes)
    assert [tuple(block.shape) for block in parts] == [(12, 12), (5, 5), (1, 1)]
    assert [tuple(block.shape) for block in rows] == [(3, 4, 4), (5, 1, 1), (1, 1, 1)]
    for place, start in enumerate([0, 12, 17]):
        stop = start + len(parts[place])
        assert torch.equal(parts[place], whole[start:stop, start:stop])
        assert torch.allclose(hessian.part(place).dense(), parts[place], rtol=1e-12, atol=1e-14)
    for row in range(3):
        part = slice(4 * row, 4 * row + 4)
        assert torch.equal(rows[0][row], whole[part, part])
        assert torch.allclose(hessian.row(0, row).dense(), whole[part, part], rtol=1e-12, atol=1e-14)
        found = hessian.row(0, row).dominant_eigenvalue()
        assert found == pytest.approx(float(eigenvalues(rows[0])[row, -1]), rel=1e-3)
    assert torch.equal(rows[1].flatten(), whole.diag()[12:17])
    assert float(whole[:12, 12:].abs().min()) > 0  # the parts are coupled, and blocks leave that out
    assert trace(hessian.part(0)).value == pytest.approx(float(whole[:12, :12].trace()), rel=1e-12)


def test_a_block_of_any_rows_and_a_mean_of_matrices() -> None:
    one, two = symmetric([1.0, 2.0, 3.0, -4.0]), symmetric([0.0, 0.0, 5.0, 7.0])
    chosen = torch.tensor([3, 0])
    assert torch.allclose(Block(Matrix(one), chosen).dense(), one[chosen][:, chosen])
    mean = Mean([Matrix(one), Matrix(two)])
    assert torch.allclose(mean.dense(), (one + two) / 2)
    assert mean.dominant_eigenvalue() == pytest.approx(float(eigenvalues((one + two) / 2)[-1]), rel=1e-3)
