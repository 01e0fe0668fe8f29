"""Curvature of a loss in a few of its parameters, such as α, by products with the Hessian."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor
from torch.autograd import grad


class Hessian:
    r"""The Hessian :math:`\nabla^2_\theta L` of a loss in some parameters, as an operator on vectors.

    A product costs one backward pass through the graph of the gradient, which is kept. The parameters count as one
    vector, each flattened, in order.

    Args:
        loss: A scalar whose graph can be derived twice.
        parameters: θ, leaves of that graph.
    """

    def __init__(self, loss: Tensor, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        slopes = grad(loss, self.parameters, create_graph=True, materialize_grads=True)
        self._slope = torch.cat([slope.reshape(-1) for slope in slopes])

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

    def dominant_eigenvalue(self, tolerance: float = 1e-4) -> float:
        """The largest eigenvalue with its sign, by Lanczos iteration from a fixed vector.

        Args:
            tolerance: Relative error at which the iteration ends.

        Returns:
            The eigenvalue.
        """
        if self.size <= 2:
            return float(torch.linalg.eigvalsh(self.dense().double()).max())

        def product(vector: np.ndarray) -> np.ndarray:
            on_device = torch.as_tensor(vector.reshape(-1), dtype=self._slope.dtype, device=self._slope.device)
            return self.product(on_device).double().cpu().numpy()

        start = np.random.default_rng(0).standard_normal(self.size)
        if not product(start).any():
            return 0.0
        operator = LinearOperator((self.size, self.size), matvec=product, dtype=np.float64)
        basis = min(8, self.size)
        found = eigsh(operator, k=1, which="LA", v0=start, ncv=basis, tol=tolerance, return_eigenvectors=False)
        return float(found[0])
