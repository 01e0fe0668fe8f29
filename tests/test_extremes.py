"""Eigenvalues at the ends of a spectrum are those of matrices whose spectrum is known."""

from __future__ import annotations

import math

import pytest
import torch
from matrices import Matrix, quadratic, symmetric
from tables import check_each
from torch import Tensor

from robustnas.curvature import Eigenpairs, Krylov, extremes

KNOWN = {
    "one": [-2.5],
    "two": [2.0, -5.0],
    "zero": [0.0] * 12,
    "identity": [1.0] * 9,
    "rank one": [0.0] * 40 + [5.0],
    "negative rank one": [0.0] * 40 + [-5.0],
    "largest in magnitude is negative": [-100.0, *[k / 20 for k in range(40)]],
    "repeated at both ends": [-4.0, -4.0, -4.0, *[k / 30 for k in range(-30, 30)], 7.0, 7.0, 7.0],
    "ill-conditioned": [10.0**k for k in range(-9, 7)],
    "ill-conditioned, both signs": [s * 10.0**k for k in range(-6, 6) for s in (1, -1)],
    "crowded": [1 - 1e-3 * k for k in range(100)],
}


def test_the_largest_eigenvalue_with_its_sign() -> None:
    rows = [
        [3.0],
        [-2.0],
        [2.0, -5.0],
        [-7.0, -3.0, -0.5, -1.0],  # the largest with its sign, not by its size
        [0.0] * 9 + [-4.0, -1.0, 1e-3],  # small beside the spectrum
        [0.0] * 20 + [5.0],  # one direction alone
        [1.0] * 6,
        [4.0, 4.0, 4.0, 1.0, 0.0, -4.0],
        [float(k) for k in range(-40, 41)],
        [1.0, *[1 - 1e-3 * k for k in range(1, 100)]],  # crowded at the top
    ]

    def check(eigenvalues: list[float]) -> None:
        found = quadratic(symmetric(eigenvalues), min(2, len(eigenvalues)))
        assert found.dominant_eigenvalue() == pytest.approx(max(eigenvalues), rel=1e-3)
        assert found.count <= min(len(eigenvalues), 64)

    check_each(rows, check)


def test_single_precision_ends_as_well() -> None:
    """Rounding keeps the residual from any tolerance: the iteration ends all the same."""
    matrix = symmetric([0.0] * 100 + [0.3, 0.1, -0.2]).float()
    assert quadratic(matrix).dominant_eigenvalue() == pytest.approx(0.3, rel=1e-3)
    assert quadratic(matrix).dominant_eigenvalue(tolerance=0) == pytest.approx(0.3, rel=1e-5)
    flat = quadratic(-symmetric([0.0] * 100 + [0.3, 0.1, 0.2]).float())
    assert abs(flat.dominant_eigenvalue()) < 1e-6


def test_the_iteration_ends_with_its_best_estimate_where_products_run_out() -> None:
    found = quadratic(symmetric([float(k) for k in range(100)]))
    few = found.dominant_eigenvalue(tolerance=0, max_products=5)
    assert found.count == 5
    assert 60 < few < quadratic(symmetric([float(k) for k in range(100)])).dominant_eigenvalue() <= 99 + 1e-9


def check(found: Eigenpairs, expected: list[float], whole: Tensor, tolerance: float) -> None:
    """Values within the tolerance, true bounds, and eigenvectors."""
    scale = float(whole.abs().max()) * len(whole)
    assert found.values.tolist() == [
        pytest.approx(value, rel=tolerance, abs=max(tolerance**2, 1e-13) * scale) for value in expected
    ]
    spectrum = torch.linalg.eigvalsh(whole)
    distances = (spectrum - found.values[:, None]).abs().min(dim=1).values
    assert (distances <= found.errors + 1e-14 * scale).all()
    residuals = (whole @ found.vectors - found.vectors * found.values).norm(dim=0)
    assert torch.allclose(residuals, found.errors, rtol=1e-6, atol=1e-13 * scale)
    grams = found.vectors.T @ found.vectors
    assert torch.allclose(grams, torch.eye(len(expected)).double(), atol=1e-10)


@pytest.mark.parametrize("count", [1, 3])
def test_both_ends_of_known_spectra(count: int) -> None:
    def check_spectrum(name: str) -> None:
        values = sorted(KNOWN[name])
        matrix = Matrix(symmetric(values))
        largest, smallest = extremes(matrix, count, count)
        check(largest, values[::-1][:count], matrix.whole, 2e-3)
        check(smallest, values[:count], matrix.whole, 2e-3)
        assert largest.products == smallest.products == matrix.count <= min(64, len(values))

    check_each(KNOWN, check_spectrum)


def test_a_block_finds_the_copies_of_an_eigenvalue() -> None:
    matrix = Matrix(symmetric([k / 1000 for k in range(60)] + [3.0, 5.0, 7.0, 7.0, 7.0]))
    assert extremes(matrix, 4)[0].values.tolist() == [pytest.approx(value, 1e-3) for value in (7, 7, 7, 5)]
    single = extremes(matrix, 3, block=1)[0]  # one vector sees one copy: why the block is the default
    assert single.values.tolist() == [pytest.approx(value, 1e-3) for value in (7, 5, 3)]


def test_one_vector_takes_fewer_products_than_a_block() -> None:
    whole = symmetric([float(k) for k in range(80)] + [100.0, 120.0, 150.0])
    counts = []
    for block in (None, 1):
        matrix = Matrix(whole)
        assert extremes(matrix, 3, block=block)[0].values.tolist() == [pytest.approx(v, 1e-3) for v in (150, 120, 100)]
        counts.append(matrix.count)
    assert counts[1] < counts[0] < 64


def test_the_error_shrinks_with_the_tolerance() -> None:
    whole = symmetric([math.sin(k) for k in range(100)])
    exact, errors = float(torch.linalg.eigvalsh(whole)[-1]), []
    for tolerance in (1e-1, 1e-3, 1e-6):
        found = extremes(Matrix(whole), tolerance=tolerance, max_products=100)[0]
        assert abs(float(found.values) - exact) <= float(found.errors) <= tolerance * exact
        errors.append(float(found.errors))
    assert errors == sorted(errors, reverse=True)


def test_what_products_lack_in_symmetry_counts_as_error() -> None:
    whole = symmetric([3.0, 1.0, 0.0, -1.0])
    skew = torch.randn(4, 4).double() * 1e-4
    assert float(extremes(Matrix(whole), tolerance=1e-9)[0].errors) < 1e-9
    found = extremes(Matrix(whole + skew - skew.T), tolerance=1e-9)[0]
    assert abs(float(found.values) - 3.0) < float(found.errors) < 1e-3
    assert float(found.errors) > float((skew - skew.T).norm())


def test_single_precision_says_how_good_it_is() -> None:
    whole = symmetric([0.0] * 100 + [0.3, 0.1, -0.2])
    found = extremes(Matrix(whole.float()), 1, 1, tolerance=1e-5)
    for pair, exact in zip(found, (0.3, -0.2), strict=True):
        assert pair.values.dtype == torch.float64
        assert abs(float(pair.values) - exact) <= float(pair.errors) + 1e-7
        assert float(pair.errors) < 1e-5


def test_the_basis_stays_orthonormal_where_the_space_ends() -> None:
    def check(name: str) -> None:
        matrix = Matrix(symmetric(KNOWN[name]))
        krylov = Krylov(matrix, None)
        for _ in range(matrix.size):
            krylov.grow(1)
        grams = krylov.basis.T @ krylov.basis
        assert torch.allclose(grams, torch.eye(matrix.size).double(), atol=1e-12)
        assert torch.allclose(krylov.images, matrix.whole @ krylov.basis, atol=1e-12 * float(matrix.whole.abs().max()))

    check_each(KNOWN, check)


def test_a_generator_decides_and_the_global_one_is_left_alone() -> None:
    matrix, before = Matrix(symmetric([math.sin(k) for k in range(60)])), torch.get_rng_state()

    def ends(generator: torch.Generator | None) -> list[Tensor]:
        return [x for pairs in extremes(matrix, 2, 1, 1e-2, generator=generator) for x in pairs[:3]]

    for seed in (None, 5):
        twice = [ends(None if seed is None else torch.Generator().manual_seed(seed)) for _ in range(2)]
        assert all(torch.equal(first, second) for first, second in zip(*twice, strict=True))
    other = ends(torch.Generator().manual_seed(6))
    assert not torch.equal(twice[0][2], other[2])
    assert torch.equal(before, torch.get_rng_state())


def test_more_eigenvalues_than_there_are() -> None:
    largest, smallest = extremes(Matrix(symmetric([1.0, 2.0, -3.0])), 5, 9)
    assert largest.values.tolist() == [pytest.approx(v) for v in (2, 1, -3)]
    assert smallest.values.tolist() == [pytest.approx(v) for v in (-3, 1, 2)]
    assert largest.products == 3


def test_one_end_alone_leaves_the_other_empty() -> None:
    largest, smallest = extremes(Matrix(symmetric([1.0, 2.0, -3.0])), 0, 1)
    assert largest.values.shape == largest.errors.shape == (0,)
    assert float(smallest.values) == pytest.approx(-3)


def test_a_product_that_is_not_finite_ends_the_iteration() -> None:
    matrix = Matrix(torch.full((9, 9), math.inf).double())
    largest, smallest = extremes(matrix, 2, 1)
    assert largest.values.isnan().all()
    assert largest.errors.isnan().all()
    assert smallest.values.isnan().all()
    assert matrix.count == 2


def test_no_eigenvalue_at_all_is_refused() -> None:
    def check(row: tuple[int, int]) -> None:
        largest, smallest = row
        with pytest.raises(ValueError, match=f"to be positive, but got {largest} and {smallest}"):
            extremes(Matrix(torch.eye(3).double()), largest, smallest)

    check_each([(0, 0), (-1, 2), (2, -1)], check)
