"""Curvature of a loss in a few of its parameters, such as α, by products with the Hessian."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd import grad

from robustnas.runtime.precision import full_precision

FULL = (torch.float32, torch.float64)


class Operator(ABC):
    """A symmetric matrix, known by its products with vectors ``[size]`` of the type and the device of ``like``."""

    def __init__(self, size: int, like: Tensor) -> None:
        self.size = size
        self.like = like.detach().new_empty(0)

    @abstractmethod
    def product(self, vector: Tensor) -> Tensor:
        """Product with a vector, ``[size]`` to ``[size]``."""

    def dense(self) -> Tensor:
        """The whole matrix, ``[size, size]``, by one product for each row."""
        identity = torch.eye(self.size, dtype=self.like.dtype, device=self.like.device)
        return torch.stack([self.product(row) for row in identity])

    def dominant_eigenvalue(self, tolerance: float = 1e-3, max_products: int = 64) -> float:
        """Return the largest eigenvalue with its sign, by :func:`extremes`, never above the true one but for rounding.

        It is ``nan`` where a product is not finite.
        """
        return float(extremes(self, tolerance=tolerance, max_products=max_products)[0].values[0])


class Hessian(Operator):
    r"""The Hessian :math:`\nabla^2_\theta L + \lambda I` of a loss in some parameters, as an operator on vectors.

    A product costs one backward pass through the graph of the gradient, which is kept, in full precision; :meth:`at`
    sees to that of the loss. The parameters count as one vector, each flattened, in order. All else is fixed.

    What is differentiated is the loss as its graph computes it: with batch statistics where BatchNorm normalises by
    the batch, with the penalty where the loss has one, on the linear pieces of ReLU and Sparsemax. A **sampled
    relaxation** has no Hessian of its own, since its loss is a step function of α. With the sample and its noise
    :math:`g` fixed, the straight-through :math:`h = \mathrm{onehot}(k^*) + q(\alpha) - \mathrm{const}(q)` makes the
    loss a smooth function of α, :math:`\tilde L(\alpha) = L(\mathrm{onehot}(k^*) + q(\alpha, g) - q(\alpha_0, g))`,
    and it is the Hessian of this surrogate at :math:`\alpha_0`,

    .. math:: J^\top \nabla^2_h L\, J + \sum_k \frac{\partial L}{\partial h_k} \nabla^2 q_k, \qquad
        J = \frac{\partial q}{\partial \alpha}.

    It is symmetric, but neither the Hessian of the expected loss, nor the derivative of the straight-through gradient,
    which lacks the first term; operations that are not computed have no effect. Compare values of one sample, or take
    the :class:`~robustnas.curvature.spectrum.Mean` of several.

    Args:
        loss: A scalar whose graph can be derived twice, computed in full precision.
        parameters: θ, leaves of that graph.
        decay: Weight decay λ of the parameters, which adds to the gradient :math:`\lambda\theta` and to every
            eigenvalue λ. RobustDARTS counts that of α in; the loss alone does not.

    Raises:
        ValueError: If the loss is no scalar, in half precision or without a graph, or there are no parameters.
    """

    def __init__(self, loss: Tensor, parameters: Sequence[Tensor], decay: float = 0.0) -> None:
        self.parameters, self.decay = list(parameters), decay
        if loss.dim() != 0:
            raise ValueError(f"Expected `loss` to be a scalar, but got the shape {tuple(loss.shape)}.")
        if not self.parameters:
            raise ValueError("Expected `parameters` to hold at least one tensor, but got none.")
        if not {loss.dtype, *(parameter.dtype for parameter in self.parameters)} <= set(FULL):
            found = ", ".join(sorted({str(t.dtype) for t in (loss, *self.parameters)}))
            raise ValueError(f"Expected `loss` and `parameters` in float32 or float64, but got {found}.")
        if not (loss.requires_grad or torch.is_grad_enabled()):
            raise ValueError("Expected `loss` to have a graph, but got one computed while gradients are disabled.")
        slopes: Sequence[Tensor] = [torch.zeros_like(parameter) for parameter in self.parameters]
        if loss.requires_grad:
            with full_precision(loss.device.type):
                slopes = grad(loss, self.parameters, create_graph=True, materialize_grads=True)
        self._slope = torch.cat([slope.reshape(-1) for slope in slopes])
        super().__init__(len(self._slope), self._slope)

    @classmethod
    def at(
        cls,
        function: Callable[[list[Tensor]], Tensor],
        parameters: Sequence[Tensor],
        dtype: torch.dtype = torch.float32,
        decay: float = 0.0,
    ) -> Hessian:
        """Return the Hessian of a function of the parameters, in full precision whatever surrounds the call.

        The function is called once, with copies of the parameters, in full precision, and with gradients, also where
        the caller has disabled them. Whatever else it uses must have the type too: weights, running statistics, images.

        Args:
            function: The loss as a function of θ, a scalar.
            parameters: θ, at which the Hessian is taken.
            dtype: Precision: ``torch.float32`` or ``torch.float64``.
            decay: Weight decay λ of the parameters.

        Raises:
            ValueError: If ``dtype`` is neither of them.
        """
        if dtype not in FULL:
            raise ValueError(f"Expected `dtype` to be torch.float32 or torch.float64, but got {dtype}.")
        with torch.inference_mode(False), torch.enable_grad():
            leaves = [parameter.detach().to(dtype, copy=True).requires_grad_() for parameter in parameters]
            with full_precision(leaves[0].device.type if leaves else "cpu"):
                return cls(function(leaves), leaves, decay)

    @property
    def gradient(self) -> Tensor:
        r""":math:`\nabla_\theta L + \lambda\theta`, ``[size]``, without its graph."""
        slope = self._slope.detach()
        if not self.decay:
            return slope
        return slope + self.decay * torch.cat([parameter.detach().reshape(-1) for parameter in self.parameters])

    @property
    def shapes(self) -> list[torch.Size]:
        """Shapes of the parameters, in order."""
        return [parameter.shape for parameter in self.parameters]

    def product(self, vector: Tensor) -> Tensor:
        if not self._slope.requires_grad:  # the gradient is constant, or the loss does not depend on θ
            return self.decay * vector
        with full_precision(vector.device.type):
            found = grad(self._slope, self.parameters, vector, retain_graph=True, materialize_grads=True)
        product = torch.cat([part.reshape(-1) for part in found])
        return product + self.decay * vector if self.decay else product

    def part(self, place: int) -> Block:
        """The block of one parameter, such as α of one kind of cell."""
        return Block(self, part_indices(self.parameters, place))

    def row(self, place: int, row: int) -> Block:
        """The block of one row of one parameter, such as α of one edge."""
        return Block(self, self.part(place).indices.view(len(self.parameters[place]), -1)[row])


def part_indices(parameters: Sequence[Tensor], place: int) -> Tensor:
    """Rows of a Hessian that belong to one of its parameters, such as α of one kind of cell."""
    start = sum(parameter.numel() for parameter in parameters[:place])
    return torch.arange(start, start + parameters[place].numel())


class Block(Operator):
    """The block of a symmetric matrix at some rows ``[rows]`` and the same columns; a product costs one with it."""

    def __init__(self, whole: Operator, indices: Tensor) -> None:
        super().__init__(len(indices), whole.like)
        self.whole, self.indices = whole, indices.to(whole.like.device)

    def product(self, vector: Tensor) -> Tensor:
        filled = vector.new_zeros(self.whole.size).index_copy(0, self.indices, vector)
        return self.whole.product(filled)[self.indices]


class Eigenpairs(NamedTuple):
    r"""Some eigenvalues of a matrix :math:`H`, from the end inwards.

    ``errors`` are bounds on the distance of ``values`` :math:`t` to an eigenvalue: the length of :math:`Hx - tx`, and
    what products of float arithmetic lack in symmetry. The error itself is about the square of the length over the gap
    to the next eigenvalue, hence usually far less.
    """

    values: Tensor  # [count], in float64 on the CPU
    errors: Tensor  # [count]
    vectors: Tensor  # eigenvectors x of length one, [size, count]
    products: int  # that were taken, for both ends together


class Krylov:
    r"""An orthonormal basis :math:`Q` of the space of :math:`v, Hv, H^2v, \dots` for random :math:`v`, and :math:`HQ`.

    Every new vector is made orthogonal to all before; where the space ends, closed under :math:`H`, a random vector
    goes on, from a generator on the CPU. Basis and products are in float64 on the CPU.
    """

    def __init__(self, operator: Operator, generator: torch.Generator | None) -> None:
        self.operator = operator
        self.generator = generator or torch.Generator().manual_seed(0)
        self.basis = self.images = torch.empty(operator.size, 0, dtype=torch.float64)  # [size, vectors]
        self._latest = self.images

    def grow(self, count: int) -> None:
        """Add so many vectors, at the cost of one product each; not more than there is room for."""
        candidates, scale = self._latest, float(self.images.norm(dim=0).max()) if self.images.numel() else 0.0
        fresh = []
        for place in range(count):
            within = scale > 0 and math.isfinite(scale) and place < candidates.shape[1]
            vector = self._orthonormal(candidates[:, place] / scale if within else None)
            self.basis = torch.cat([self.basis, vector[:, None]], dim=1)
            fresh.append(self.operator.product(vector.to(self.operator.like)).detach().to(vector))
        self._latest = torch.stack(fresh, dim=1)
        self.images = torch.cat([self.images, self._latest], dim=1)

    def _orthonormal(self, vector: Tensor | None) -> Tensor:
        while True:
            if vector is None:
                vector = torch.randn(self.operator.size, generator=self.generator, dtype=torch.float64)
                vector = vector / vector.norm()
            for _ in range(2):  # once leaves rounding errors that grow
                vector = vector - self.basis @ (self.basis.T @ vector)
            if (length := float(vector.norm())) > 10 * torch.finfo(self.operator.like.dtype).eps:
                return vector / length
            vector = None

    def ritz(self) -> tuple[Tensor, Tensor, Tensor]:
        r"""Return eigenvalues :math:`t` of :math:`Q^\top H Q`, ascending, its eigenvectors :math:`y`, and errors.

        ``[found]``, ``[found, found]`` and ``[2, found]``: the lengths :math:`\|HQy - tQy\|`, and the same with what
        products lack in symmetry; all ``nan`` where a product is not finite.
        """
        small = self.basis.T @ self.images
        if not small.isfinite().all():
            return small[0] * math.nan, small * math.nan, small.new_full((2, len(small)), math.nan)
        values, inner = torch.linalg.eigh((small + small.T) / 2)
        lengths = (self.images @ inner - self.basis @ inner * values).norm(dim=0)
        return values, inner, torch.stack([lengths, lengths + (small - small.T).norm() / 2])


def extremes(
    operator: Operator,
    largest: int = 1,
    smallest: int = 0,
    tolerance: float = 1e-3,
    max_products: int = 64,
    block: int | None = None,
    generator: torch.Generator | None = None,
) -> tuple[Eigenpairs, Eigenpairs]:
    r"""Return the largest eigenvalues, descending, and the smallest, ascending, by block Lanczos iteration.

    With the basis :math:`Q` of a :class:`Krylov` space, eigenvalues :math:`t` and eigenvectors :math:`y` of
    :math:`Q^\top H Q`, the iteration ends where every :math:`r = \|HQy - tQy\|` asked for is at most ``tolerance``
    :math:`|t|`, or rounding. This excludes no larger one: :func:`~robustnas.curvature.eigenvalue.bounded_ends` does.
    They are ``nan`` where a product is not finite.

    Args:
        operator: The matrix :math:`H`.
        largest: How many of the largest; all, if the matrix has fewer.
        smallest: How many of the smallest, from the same products.
        tolerance: When the iteration ends.
        max_products: Products after which it ends with what it has found.
        block: Vectors of a step: copies of a repeated eigenvalue that are sure to be found. By default as many as
            eigenvalues are asked for at an end; 1 takes fewer products.
        generator: Source of the first vectors, on the CPU; ``None`` starts from the same ones every time.

    Raises:
        ValueError: If no eigenvalue is asked for.
    """
    if min(largest, smallest) < 0 or largest + smallest == 0:
        raise ValueError(f"Expected `largest` or `smallest` to be positive, but got {largest} and {smallest}.")
    width, limit = block or max(largest, smallest, 1), min(operator.size, max(max_products, largest, smallest))
    enough, eps = min(max(largest, smallest), operator.size), torch.finfo(operator.like.dtype).eps
    krylov, found = Krylov(operator, generator), 0
    while True:
        krylov.grow(min(width, limit - found))
        found = krylov.basis.shape[1]
        values, inner, (lengths, errors) = krylov.ritz()
        ends = [[*reversed(range(found))][:largest], [*range(found)][:smallest]]
        noise = 10 * eps * float(values.abs().max())
        close = (lengths <= (tolerance * values.abs()).clamp(min=noise))[ends[0] + ends[1]].all()
        if (close and found >= enough) or found == limit or math.isnan(noise):
            pairs = [Eigenpairs(values[i], errors[i], krylov.basis @ inner[:, i], found) for i in ends]
            return pairs[0], pairs[1]
