r"""The largest or smallest eigenvalue of a symmetric matrix, with a bound on how far it may be off.

The residual :math:`\|Hx - tx\|` of a Ritz pair says that *some* eigenvalue is near :math:`t`, not that no larger one
was missed. What a random start :math:`q_1`, uniform on the sphere, may have missed is bounded here (van Dorsselaer,
Hochstenbach and van der Vorst, SIAM J. Matrix Anal. Appl. 22, 2000). For a unit eigenvector :math:`v` of
:math:`\lambda` and a Lanczos basis :math:`q_1, q_2, \dots` with the coefficients :math:`a_j, b_j`, the numbers
:math:`y_j = v^\top q_j` obey

.. math:: b_j y_{j+1} = (\lambda - a_j)\, y_j - b_{j-1} y_{j-1}, \qquad \sum_j y_j^2 \le 1.

Above the largest Ritz value all :math:`y_j` grow with :math:`\lambda`. With probability :math:`1 - p` the start has
at least the component :math:`|y_1| \ge \gamma_p`, and then :math:`\lambda` is below the number where the sum, begun
with :math:`\gamma_p`, reaches one. After as many products as the matrix has rows, the bound is zero.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from robustnas.curvature.hessian import Krylov, Operator

FAILURE = 1e-3  # probability that a random start hides an eigenvalue beyond the bound


class Bounded(NamedTuple):
    """An eigenvalue at an end of the spectrum."""

    value: float  # the Ritz value; the eigenvalue is at least this far out, up to rounding
    bound: float  # how much further out the eigenvalue may be, rounding of the products included
    vector: Tensor  # the Ritz vector in the basis, [products]
    basis: Tensor  # orthonormal, [size, products], in float64 on the CPU, in the order of the products

    @property
    def products(self) -> int:
        """Products with the matrix that it took."""
        return self.basis.shape[1]


def bounded_ends(
    operator: Operator,
    tolerance: float = 0.05,
    smallest: bool = False,
    max_products: int | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Bounded, Bounded]:
    """Return the largest and the smallest eigenvalue with bounds, by Lanczos iteration; ``nan`` where a product is.

    Args:
        operator: The matrix.
        tolerance: Bound, relative to the eigenvalue, at which the iteration ends.
        smallest: Whether the smallest one must reach the tolerance too; otherwise it is what came along.
        max_products: Products after which it ends with the bound it has; by default the rows of the matrix.
        generator: Source of the first vector, on the CPU; ``None`` takes the same one every time.

    Raises:
        ValueError: If ``tolerance`` is not positive.
    """
    if not tolerance > 0:
        raise ValueError(f"Expected `tolerance` to be positive, but got {tolerance}.")
    krylov, limit = Krylov(operator, generator), min(operator.size, max_products or operator.size)
    while True:
        krylov.grow(1)
        values, inner, (lengths, errors) = krylov.ritz()
        if values.isnan().any():
            lost = Bounded(math.nan, math.nan, inner[:, -1], krylov.basis)
            return lost, lost
        noise = 10 * torch.finfo(operator.like.dtype).eps * float(values.abs().max())
        outermost = float(values[-1]), -float(values[0])
        ends = [_End(krylov, sign, operator.size) for sign in (1.0, -1.0)]
        enough = all(
            end.excludes(t + max(tolerance * abs(t), noise))
            for end, t in zip(ends, outermost, strict=True)
            if end.sign > 0 or smallest
        )
        if enough or len(values) == limit or not noise:  # a random vector is mapped to zero: so is every other
            rounding = noise + float((errors - lengths).max())
            bounds = [end.bound(t) + rounding for end, t in zip(ends, outermost, strict=True)]
            return (
                Bounded(float(values[-1]), bounds[0], inner[:, -1], krylov.basis),
                Bounded(float(values[0]), bounds[1], inner[:, 0], krylov.basis),
            )


class _End:
    """What a Krylov space excludes beyond the upper end of the spectrum or, of the negated matrix, the lower one."""

    def __init__(self, krylov: Krylov, sign: float, size: int) -> None:
        self.sign = sign
        small = krylov.basis.T @ krylov.images
        self.diagonal: list[float] = (sign * small.diagonal()).tolist()
        last = krylov.images[:, -1] - krylov.basis @ small[:, -1]
        beside = small.diagonal(-1).tolist()
        closed = krylov.basis.shape[1] == size
        self.off: list[float] = [*(abs(b) for b in beside), 0.0 if closed else float(last.norm())]
        self.start = _least_component(size)

    def excludes(self, x: float) -> bool:
        """Whether no eigenvalue is at ``x`` or beyond, which must be beyond all Ritz values."""
        before, off, y, total = 0.0, 0.0, self.start, self.start**2
        for a, b in zip(self.diagonal, self.off, strict=True):
            step = (x - a) * y - off * before
            if step <= 0:
                return False  # not beyond the Ritz values, up to rounding
            if step >= b:  # the next component would be one or more
                return True
            before, y, off = y, step / b, b
            total += y * y
            if total > 1:
                return True
        return False

    def bound(self, t: float) -> float:
        """How far beyond the outermost Ritz value ``t`` an eigenvalue may be."""
        if not self.off[-1]:
            return 0.0
        low, high = 0.0, max(abs(t), max(self.off), 1e-300)
        while not self.excludes(t + high):
            high *= 2
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if self.excludes(t + middle) else (middle, high)
        return high


def _least_component(size: int) -> float:
    """The component along a direction that a random unit vector falls below with the probability allowed at most."""
    if size < 3:
        return FAILURE
    density = math.exp(math.lgamma(size / 2) - math.lgamma((size - 1) / 2)) / math.sqrt(math.pi)
    return FAILURE / (2 * density)
