"""Curvature of a loss in a few of its parameters, such as α, by products with the Hessian."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import grad


class Hessian:
    r"""The Hessian :math:`\nabla^2_\theta L` of a loss in some parameters, as an operator on vectors.

    A product costs one backward pass through the graph of the gradient, which is kept. The parameters count as one
    vector, each flattened, in order.

    Args:
        loss: A scalar whose graph can be derived twice.
        parameters: θ, leaves of that graph.

    Raises:
        ValueError: If the loss is no scalar, or there are no parameters.
    """

    def __init__(self, loss: Tensor, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        if loss.dim() != 0:
            raise ValueError(f"Expected `loss` to be a scalar, but got the shape {tuple(loss.shape)}.")
        if not self.parameters:
            raise ValueError("Expected `parameters` to hold at least one tensor, but got none.")
        slopes: Sequence[Tensor] = [torch.zeros_like(parameter) for parameter in self.parameters]
        if loss.requires_grad:
            slopes = grad(loss, self.parameters, create_graph=True, materialize_grads=True)
        self._slope = torch.cat([slope.reshape(-1) for slope in slopes])

    @property
    def gradient(self) -> Tensor:
        r""":math:`\nabla_\theta L`, ``[size]``, without its graph."""
        return self._slope.detach()

    @property
    def size(self) -> int:
        """Number of parameters."""
        return len(self._slope)

    def product(self, vector: Tensor) -> Tensor:
        """Product with a vector, ``[size]`` to ``[size]``."""
        if not self._slope.requires_grad:  # the gradient is constant, or the loss does not depend on θ
            return torch.zeros_like(self._slope)
        found = grad(self._slope, self.parameters, vector, retain_graph=True, materialize_grads=True)
        return torch.cat([part.reshape(-1) for part in found])

    def dense(self) -> Tensor:
        """The whole matrix, ``[size, size]``, by one product for each row."""
        identity = torch.eye(self.size, dtype=self._slope.dtype, device=self._slope.device)
        return torch.stack([self.product(row) for row in identity])

    def dominant_eigenvalue(self, tolerance: float = 1e-3, most: int = 64) -> float:
        r"""The largest eigenvalue with its sign, by Lanczos iteration from a fixed vector.

        With the basis :math:`Q` of the Krylov space and :math:`T = Q^\top H Q`, the largest eigenvalue :math:`t` of
        :math:`T` is within :math:`r = \|H Q y - t\, Q y\|` of one of :math:`H`, in practice within
        :math:`r^2` over the gap. Every new vector is made orthogonal to all before, which for so few costs nothing.

        Args:
            tolerance: The iteration ends where :math:`r \le` ``tolerance`` :math:`|t|`.
            most: Products after which it ends with what it has found, which never exceeds the true value.

        Returns:
            The eigenvalue; ``nan`` where a product is not finite.
        """
        start = torch.randn(self.size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        basis = [start / start.norm()]
        diagonal: list[float] = []
        beside: list[float] = []
        while True:
            image = self.product(basis[-1].to(self._slope)).to(basis[0])
            diagonal.append(float(image @ basis[-1]))
            if not math.isfinite(diagonal[-1]):
                return math.nan
            for _ in range(2):  # once leaves rounding errors that grow
                for vector in basis:
                    image = image - (image @ vector) * vector
            length = float(image.norm())
            small = torch.tensor(diagonal).diag()
            small = small + torch.tensor(beside).diag(1) + torch.tensor(beside).diag(-1)
            values, vectors = torch.linalg.eigh(small)
            noise = torch.finfo(self._slope.dtype).eps * float(values.abs().max())
            close = length * float(vectors[-1, -1].abs()) <= max(tolerance * float(values[-1].abs()), 10 * noise)
            if close or len(basis) == min(self.size, most):
                return float(values[-1])
            beside.append(length)
            basis.append(image / length)
