"""A small smooth bilevel problem, and its true gradient of α from code that shares nothing with the library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from robustnas.strategies import Bilevel, Step

# Step size, momentum, decay, Nesterov's, and whether a step was taken before.
STEPS = {
    "first step": (0.3, 0.9, 0.01, False, False),
    "plain": (0.3, 0.0, 0.0, False, False),
    "momentum": (0.3, 0.9, 0.0, False, True),
    "momentum and decay": (0.3, 0.9, 0.01, False, True),
    "Nesterov, first step": (0.3, 0.9, 0.01, True, False),
    "Nesterov": (0.3, 0.9, 0.01, True, True),
}


class Toy:
    """Two edges of four operations on vectors, tanh all over, in float64."""

    def __init__(self, step: tuple[float, float, float, bool, bool] = STEPS["momentum and decay"]) -> None:
        generator = torch.Generator().manual_seed(3)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, dtype=torch.float64, generator=generator)

        self.weights = {name: draw(5, 5).requires_grad_() for name in ("a.one", "a.two", "b.one", "b.two")}
        self.weights["out"] = draw(3, 5).requires_grad_()
        self.alphas = [draw(1, 4).requires_grad_(), draw(1, 4).requires_grad_()]
        self.batches = {role: (draw(7, 5), draw(7, 3)) for role in ("arch", "weights")}
        self.lr, self.momentum, self.weight_decay, self.nesterov, began = step
        self.buffers = {name: draw(*weight.shape) for name, weight in self.weights.items()} if began else {}

    def loss(self, role: str, weights: dict[str, Tensor]) -> Tensor:
        x, y = self.batches[role]
        for edge, alpha in zip("ab", self.alphas, strict=True):
            shares = alpha.softmax(1)[0]
            one, two = torch.tanh(x @ weights[f"{edge}.one"]), torch.sin(x @ weights[f"{edge}.two"])
            x = shares[0] * one + shares[1] * two + shares[2] * x + shares[3] * torch.tanh(one @ weights[f"{edge}.two"])
        return (x @ weights["out"].T - y).square().mean()

    def problem(self, average: Callable[[Sequence[Tensor]], list[Tensor]] = list) -> Bilevel:
        step = Step(self.lr, self.momentum, self.weight_decay, self.nesterov, self.buffers)
        losses: list[Any] = [lambda w: self.loss("arch", w), lambda w: self.loss("weights", w)]
        return Bilevel(*losses, self.weights, self.alphas, step, average)

    def optimiser(self) -> torch.optim.SGD:
        """The real one, with its momentum buffers."""
        sgd = torch.optim.SGD(
            self.weights.values(), self.lr, self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov
        )
        for name, buffer in self.buffers.items():
            sgd.state[self.weights[name]]["momentum_buffer"] = buffer.clone()
        return sgd

    def true_gradient(self) -> list[Tensor]:
        """Autograd straight through one written-out step of SGD."""
        names = list(self.weights)
        slopes = torch.autograd.grad(self.loss("weights", self.weights), list(self.weights.values()), create_graph=True)
        moved = {}
        for name, slope in zip(names, slopes, strict=True):
            push = slope + self.weight_decay * self.weights[name]
            buffer = push if name not in self.buffers else self.momentum * self.buffers[name] + push
            moved[name] = self.weights[name] - self.lr * (push + self.momentum * buffer if self.nesterov else buffer)
        return list(torch.autograd.grad(self.loss("arch", moved), self.alphas))

    def loss_after_a_real_step(self) -> float:
        """Architecture loss after ``torch.optim.SGD`` stepped; the weights are put back."""
        before = {name: weight.detach().clone() for name, weight in self.weights.items()}
        sgd = self.optimiser()
        self.loss("weights", self.weights).backward(inputs=list(self.weights.values()))
        sgd.step()
        loss = self.loss("arch", self.weights).item()
        sgd.zero_grad()
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(before[name])
        return loss


def distance(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Norm of the difference over the norm of what is expected, all tensors together."""
    difference = torch.cat([(f - e).flatten() for f, e in zip(found, expected, strict=True)]).norm()
    return float(difference / torch.cat([e.flatten() for e in expected]).norm())
