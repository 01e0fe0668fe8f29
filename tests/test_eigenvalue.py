"""The largest eigenvalue is bounded from both sides, whatever the rest of the spectrum and wherever the start."""

from __future__ import annotations

import math

import pytest
import torch
from matrices import Matrix, symmetric
from tables import check_each

from robustnas.curvature.eigenvalue import FAILURE, Bounded, _least_component, bounded_ends

SPECTRA = {
    "one": [-2.5],
    "two": [2.0, -5.0],
    "zero": [0.0] * 40,
    "identity": [1.0] * 40,
    "dominant negative": [-1000.0, *[k / 112 for k in range(113)]],
    "several dominant negative": [*[-1000 / (k + 1) for k in range(60)], *[0.0] * 28, *[k / 10 for k in range(11)]],
    "a softmax's zeros": [*[0.0] * 28, *[0.5 * 0.8**k for k in range(70)], *[-0.2 * 0.8**k for k in range(14)]],
    "all negative and zeros": [*[0.0] * 28, *[-(0.8**k) for k in range(80)]],
    "clustered at the top": [*[1 - 1e-4 * k for k in range(20)], *[0.0] * 100],
    "crowded": [1 - 1e-3 * k for k in range(100)],
    "one alone over many equal": [0.0] * 223 + [1.0],
    "repeated": [7.0] * 5 + [k / 60 for k in range(100)],
    "evenly spread": [float(k) for k in range(-112, 112)],
    "tiny": [1e-7 * k for k in range(-30, 30)],
}


def check(found: Bounded, true: float, sign: int, slack: float) -> None:
    assert -slack <= sign * (true - found.value) <= found.bound


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_both_ends_are_within_their_bounds_and_the_bounds_within_the_tolerance(dtype: torch.dtype) -> None:
    def check_spectrum(name: str) -> None:
        values = SPECTRA[name]
        scale = max(map(abs, values))
        noise = 100 * torch.finfo(dtype).eps * scale
        for tolerance in (0.2, 0.05, 0.001):
            matrix = Matrix(symmetric(values).to(dtype))
            largest, smallest = bounded_ends(matrix, tolerance, smallest=True)
            true = torch.linalg.eigvalsh(matrix.whole.double())
            check(largest, float(true[-1]), 1, noise)
            check(smallest, float(true[0]), -1, noise)
            assert largest.bound <= tolerance * abs(largest.value) + noise
            assert smallest.bound <= tolerance * abs(smallest.value) + noise
            assert largest.products == matrix.count <= len(values)
            assert math.isclose(float(largest.vector.norm()), 1, rel_tol=1e-9)

    check_each(SPECTRA, check_spectrum)


def test_a_small_eigenvalue_beside_a_dominant_negative_one_costs_less_than_the_dense_matrix() -> None:
    """Where a tolerance relative to the largest in magnitude ended at 0.47 for 1."""
    matrix = Matrix(symmetric([-1000.0, *[k / 223 for k in range(224)]]))
    found, _ = bounded_ends(matrix)
    assert found.value == pytest.approx(1, rel=0.05)
    assert matrix.count < 60


@pytest.mark.parametrize("name", ["dominant negative", "a softmax's zeros", "evenly spread", "crowded"])
def test_the_bound_holds_wherever_the_iteration_starts(name: str) -> None:
    """Also where it ends early, and products run out before anything has converged."""
    whole = symmetric(SPECTRA[name])
    for seed in range(100):
        for most in (2, 4, 8):
            generator = torch.Generator().manual_seed(seed)
            found, _ = bounded_ends(Matrix(whole), max_products=most, generator=generator)
            check(found, float(torch.tensor(SPECTRA[name]).max()), 1, 1e-9)


def test_a_start_without_the_eigenvector_is_what_the_bound_counts_on_not_happening() -> None:
    """As rarely as said: the share of random unit vectors whose component is below the one assumed."""
    size = 50
    starts = torch.randn(200_000, size, generator=torch.Generator().manual_seed(1)).double()
    first = (starts[:, 0] / starts.norm(dim=1)).abs()
    assert float((first < _least_component(size)).double().mean()) == pytest.approx(FAILURE, rel=0.3)


def test_a_product_that_is_not_finite_gives_no_number() -> None:
    for found in bounded_ends(Matrix(torch.full((3, 3), math.inf))):
        assert math.isnan(found.value)
        assert math.isnan(found.bound)


def test_what_products_lack_in_symmetry_counts() -> None:
    whole = symmetric([3.0, 1.0, 0.0, -1.0])
    skew = torch.randn(4, 4).double() * 1e-3
    found, _ = bounded_ends(Matrix(whole + skew - skew.T))
    assert found.bound >= float((skew - skew.T).norm()) * 0.9


def test_a_tolerance_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `tolerance` to be positive, but got 0\."):
        bounded_ends(Matrix(torch.eye(2)), 0)
