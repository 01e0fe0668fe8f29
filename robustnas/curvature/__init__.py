"""Curvature of the loss in α: Hessian products, extreme eigenvalues, spectrum and loss landscape."""

from robustnas.curvature.hessian import Block, Eigenpairs, Hessian, Krylov, Operator, extremes
from robustnas.curvature.spectrum import Density, Estimate, Mean, density, eigenvalues, part_blocks, row_blocks, trace

__all__ = [
    "Block", "Density", "Eigenpairs", "Estimate", "Hessian", "Krylov", "Mean", "Operator", "density", "eigenvalues",
    "extremes", "part_blocks", "row_blocks", "trace",
]  # fmt: skip
