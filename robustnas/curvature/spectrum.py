"""Spectrum, trace and blocks of a symmetric matrix: exact where it is small, estimated where it is large."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from robustnas.curvature.hessian import Krylov, Operator


class Mean(Operator):
    """The mean of symmetric matrices, such as the Hessians on several batches or at several samples.

    Each keeps its graph. A ``ValueError`` is raised if there is none, or their sizes differ.
    """

    def __init__(self, operators: Sequence[Operator]) -> None:
        if len(sizes := {operator.size for operator in operators}) != 1:
            raise ValueError(f"Expected `operators` to be matrices of one size, but got the sizes {sorted(sizes)}.")
        super().__init__(operators[0].size, operators[0].like)
        self.operators = list(operators)

    def product(self, vector: Tensor) -> Tensor:
        return torch.stack([operator.product(vector) for operator in self.operators]).mean(0)


class Estimate(NamedTuple):
    """A number with its standard error."""

    value: float
    error: float  # standard error of the value; 0 where it is exact but for rounding
    products: int  # with the matrix, that it took


def trace(operator: Operator, probes: int = 32, generator: torch.Generator | None = None) -> Estimate:
    r"""Return the trace, by Hutchinson's estimate :math:`\frac1m \sum_i z_i^\top H z_i` with random signs :math:`z_i`.

    It is unbiased, with the variance :math:`\frac2m \sum_{i \ne j} H_{ij}^2`; the error is taken from the spread of
    the probes. Where there are as few rows as probes, the diagonal itself costs no more.

    Args:
        operator: The matrix :math:`H`.
        probes: Products :math:`m`, at least two.
        generator: Source of the signs, on the CPU; ``None`` draws the same ones every time.

    Raises:
        ValueError: If there are fewer than two probes.
    """
    if probes < 2:
        raise ValueError(f"Expected `probes` to be at least 2, but got {probes}.")
    if operator.size <= probes:
        return Estimate(float(operator.dense().detach().double().trace()), 0.0, operator.size)
    generator, found = generator or torch.Generator().manual_seed(0), list[Tensor]()
    for _ in range(probes):
        signs = torch.randint(0, 2, (operator.size,), generator=generator).to(operator.like) * 2 - 1
        found.append((signs.double() @ operator.product(signs).detach().double()).cpu())
    samples = torch.stack(found)
    return Estimate(float(samples.mean()), float(samples.std() / math.sqrt(probes)), probes)


def eigenvalues(matrix: Operator | Tensor) -> Tensor:
    """Return all eigenvalues, ascending, ``[..., size]``, in float64 on the CPU, from the whole of a matrix or several.

    Only the symmetric part counts; an operator costs one product for each row; ``nan`` for a matrix that is not finite.
    """
    whole = (matrix.dense() if isinstance(matrix, Operator) else matrix).detach().double().cpu()
    finite = whole.isfinite().flatten(-2).all(-1)[..., None]
    found: Tensor = torch.linalg.eigvalsh((whole + whole.mT).where(finite[..., None], 0.0) / 2)
    return found.where(finite, math.nan)


def part_blocks(whole: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """The diagonal block ``[numel, numel]`` of each parameter, such as α of a kind of cell, of a whole Hessian."""
    sizes = [shape.numel() for shape in shapes]
    return [columns[place] for place, rows in enumerate(whole.split(sizes)) for columns in [rows.split(sizes, dim=1)]]


def row_blocks(whole: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """Return the diagonal blocks of the rows of each parameter, ``[rows, columns, columns]``, such as α of each edge.

    The rows are coupled, so that exact blocks of all of them cost as many products as the whole matrix; those of a
    single one are cheaper by :meth:`~robustnas.curvature.Hessian.row`. A row counts flattened.
    """
    found = []
    for block, shape in zip(part_blocks(whole, shapes), shapes, strict=True):
        rows = shape[0] if shape else 1
        grid = block.reshape(rows, -1, rows, block.shape[0] // max(rows, 1))  # [rows, columns, rows, columns]
        found.append(grid.diagonal(dim1=0, dim2=2).movedim(-1, 0))
    return found


class Density(NamedTuple):
    r"""How the eigenvalues are distributed: :math:`\phi(t) = \sum_i w_i\, \delta(t - t_i)`, which integrates to one."""

    nodes: Tensor  # t, [probes, nodes], in float64 on the CPU
    weights: Tensor  # w, of the same shape, with the sum one
    exact: bool  # whether the nodes are the eigenvalues themselves, in one row
    products: int  # with the matrix, that it took

    def below(self, bound: float) -> float:
        """Share of eigenvalues below a bound; below zero it is the negative mass."""
        return float(self.weights[self.nodes < bound].sum())

    def mean(self) -> Estimate:
        """Mean of the eigenvalues, which is the trace over the size, with the spread over the probes."""
        each = (self.nodes * self.weights).sum(1) * len(self.nodes)
        error = 0.0 if self.exact else float(each.std() / math.sqrt(len(each)))
        return Estimate(float(each.mean()), error, self.products)

    def at(self, points: Tensor, width: float | None = None) -> Tensor:
        r"""Return the density :math:`\sum_i w_i\, \mathcal{N}(t; t_i, \text{width}^2)` at some points, in float64.

        The default of ``width`` is 1 % of the range of the nodes.
        """
        spread = max(float(self.nodes.max() - self.nodes.min()), float(self.nodes.abs().max()) / 10) or 1.0
        sigma = width or spread / 100
        apart = (points.double()[:, None] - self.nodes.reshape(-1)) / sigma
        heights: Tensor = (-(apart**2) / 2).exp() / (sigma * math.sqrt(2 * math.pi))
        return heights @ self.weights.reshape(-1)


def density(operator: Operator, probes: int = 8, steps: int = 24, generator: torch.Generator | None = None) -> Density:
    r"""Return the distribution of the eigenvalues, exact or by stochastic Lanczos quadrature.

    From a random direction :math:`v`, ``steps`` Lanczos steps give a small matrix whose eigenvalues :math:`t_i` and
    squared first entries of eigenvectors :math:`w_i` are the Gauss quadrature of the distribution that :math:`v`
    sees: right for the first ``2 * steps - 1`` moments, and outliers are found first. The mean over directions is
    unbiased in these moments (Ubaru, Chen and Saad, "Fast estimation of tr(f(A)) via stochastic Lanczos quadrature",
    SIAM J. Matrix Anal. Appl. 38, 2017). It is exact where the matrix has no more rows than ``probes * steps``, and
    ``nan`` where a product is not finite.

    Args:
        operator: The matrix.
        probes: Random directions, at least two.
        steps: Products for each.
        generator: Source of the directions, on the CPU; ``None`` draws the same ones every time.

    Raises:
        ValueError: If there are fewer than two probes, or no step.
    """
    if probes < 2 or steps < 1:
        raise ValueError(f"Expected `probes` to be at least 2 and `steps` at least 1, but got {probes} and {steps}.")
    if operator.size <= probes * steps:
        exact = eigenvalues(operator)[None]
        return Density(exact, torch.full_like(exact, 1 / operator.size), True, operator.size)
    generator, found = generator or torch.Generator().manual_seed(0), list[Tensor]()
    for _ in range(probes):
        krylov = Krylov(operator, generator)
        for _ in range(steps):
            krylov.grow(1)
        values, inner, _ = krylov.ritz()
        found.append(torch.stack([values, inner[0] ** 2 / probes]))
    nodes, weights = torch.stack(found, dim=1)
    return Density(nodes, weights, False, probes * steps)
