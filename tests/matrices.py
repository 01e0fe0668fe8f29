"""Symmetric matrices with known eigenvalues, and Hessians, as operators that count their products."""

from __future__ import annotations

import torch
from torch import Tensor

from robustnas.curvature import Hessian, Operator


class Matrix(Operator):
    """A matrix that is there as a whole."""

    def __init__(self, whole: Tensor) -> None:
        super().__init__(len(whole), whole)
        self.whole, self.count = whole, 0

    def product(self, vector: Tensor) -> Tensor:
        self.count += 1
        return self.whole @ vector


def symmetric(eigenvalues: list[float]) -> Tensor:
    """A full matrix with these eigenvalues, in float64."""
    basis = torch.linalg.qr(torch.randn(len(eigenvalues), len(eigenvalues)).double())[0]
    return basis @ torch.tensor(eigenvalues).double().diag() @ basis.T


class Counted(Hessian):
    """Counts its products."""

    count = 0

    def product(self, vector: Tensor) -> Tensor:
        self.count += 1
        return super().product(vector)


def quadratic(matrix: Tensor, splits: int = 1) -> Counted:
    """Half of xᵀMx, whose Hessian is M, in one or more parameters."""
    parameters = [x.clone().requires_grad_() for x in torch.ones(len(matrix), dtype=matrix.dtype).chunk(splits)]
    x = torch.cat(parameters)
    return Counted(x @ matrix @ x / 2, parameters)
