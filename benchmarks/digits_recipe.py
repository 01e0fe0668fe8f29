"""How a cell of NAS-Bench-201 is trained alone for the table of the task `ClutteredDigits`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from stacked_cells import StackedNetworks
from torch import Tensor

from robustnas.data import ClutteredDigits
from robustnas.data.augmentation import normalise
from robustnas.networks import DiscreteNetwork
from robustnas.spaces import Genotype, NASBench201


class Task(NamedTuple):
    """Normalised images and labels of the training and the test part."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    @classmethod
    def load(cls, data: ClutteredDigits, device: str = "cpu") -> Task:
        """Both parts, normalised by the data module; all images of the training part are trained on."""
        train, test = data.load()
        mean, std = (torch.tensor(values) for values in (data.prepare.mean, data.prepare.std))
        images, test_images = (normalise(part.pixels, mean, std) for part in (train, test))
        return cls(*(part.to(device) for part in (images, train.targets, test_images, test.targets)))


@dataclass(frozen=True)
class Recipe:
    """Nesterov momentum, a linear warm-up and a cosine to zero, set before every step; no augmentation."""

    channels: int = 4
    cells: int = 3
    epochs: int = 12
    batch_size: int = 32
    lr: float = 0.1
    warmup: float = 0.2  # of all steps
    momentum: float = 0.9
    weight_decay: float = 5e-4

    def describe(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        return {"optimizer": "SGD with Nesterov momentum", "network": "DiscreteNetwork", **asdict(self)}

    def factor(self, done: float) -> float:
        """Share of the learning rate after a share of the steps."""
        decay = max(0.0, (done - self.warmup) / (1 - self.warmup))
        return min(done / self.warmup, (1 + math.cos(math.pi * decay)) / 2)

    def train(self, genotypes: Sequence[Genotype], task: Task, seed: int) -> list[int]:
        """Train cells from random weights, side by side; the seed is that of weights and order, the same for each.

        The networks are where the images of the task are; on a GPU the kernels of a step are recorded once.

        Returns:
            How many test images each classifies correctly after the last step.
        """
        device = task.images.device
        networks = StackedNetworks([self.network(genotype, seed) for genotype in genotypes], self.cells).to(device)
        lr = torch.tensor(0.0, device=device)
        optimizer = torch.optim.SGD(
            networks.parameters(), lr, self.momentum, weight_decay=self.weight_decay, nesterov=True, fused=True
        )
        chosen = torch.zeros(self.batch_size, dtype=torch.long, device=device)

        def step() -> None:
            optimizer.zero_grad()
            logits, labels = networks(task.images[chosen]), task.labels[chosen].repeat(len(genotypes))
            (F.cross_entropy(logits.flatten(0, 1), labels) * len(genotypes)).backward()
            optimizer.step()

        if device.type == "cuda":
            step = record(step, optimizer)
        for rate, images in self.steps(len(task.images), seed):
            lr.fill_(rate)
            chosen.copy_(images)
            step()
        networks.eval()
        with torch.inference_mode():
            predicted = [networks(images).argmax(2) for images in task.test_images.split(256)]
        found: list[int] = (torch.cat(predicted, dim=1) == task.test_labels).sum(1).tolist()
        return found

    def network(self, genotype: Genotype, seed: int) -> DiscreteNetwork:
        """The network of a cell with its first weights."""
        torch.manual_seed(seed)
        return DiscreteNetwork(
            NASBench201, genotype, channels=self.channels, cells=self.cells, num_classes=10, image_channels=1
        )

    def steps(self, images: int, seed: int) -> Iterator[tuple[float, Tensor]]:
        """Learning rate and images of every step; an incomplete last batch is dropped."""
        generator = torch.Generator().manual_seed(seed)
        batches = images // self.batch_size
        for epoch in range(self.epochs):
            order = torch.randperm(images, generator=generator)[: batches * self.batch_size]
            for step, chosen in enumerate(order.split(self.batch_size)):
                yield self.lr * self.factor((epoch + (step + 0.5) / batches) / self.epochs), chosen


def record(step: Callable[[], None], optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """The kernels of a step as a CUDA graph; the steps before the recording have a learning rate of zero."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    for state in optimizer.state.values():
        state["momentum_buffer"].zero_()
    return graph.replay
