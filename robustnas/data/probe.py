"""Samples for measurements of a search, outside of training."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch

from robustnas.data.batch import Batch
from robustnas.data.module import ImageData
from robustnas.data.roles import Role


class Probe:
    """Fixed batches of a role, in the order of the data set and without augmentation.

    They cover the whole role on any number of processes, since one process measures. A role that is empty, and
    ``test``, which no measurement of a search may see, raise a ``ValueError``.
    """

    def __init__(self, data: ImageData, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.data, self.device, self.dtype = data, device, dtype
        self._kept: dict[tuple[Role, int], list[Batch]] = {}

    def batches(self, role: Role, count: int) -> list[Batch]:
        """The first ``count`` batches of a role, or all if it has fewer, cached."""
        if (role, count) not in self._kept:
            self._kept[role, count] = list(islice(self.all(role), count))
        return self._kept[role, count]

    def drawn(self, role: Role, count: int, size: int, seed: int) -> list[Batch]:
        """``count`` samples of a role (or all), drawn with a seed, in chunks of ``size`` or a few more."""
        if role == "test":
            raise ValueError("Expected `role` to be weights, arch or selection, but got 'test'.")
        held = self.data.split.union(role)
        order = torch.randperm(len(held), generator=torch.Generator().manual_seed(seed))[:count]
        images = self.data.split.part(role)
        return [
            self._ready(Batch(images.pixels[chosen], images.targets[chosen], torch.tensor(seed)))
            for chosen in held[order].tensor_split(max(len(order) // size, 1))
        ]

    def all(self, role: Role) -> Iterator[Batch]:
        """Every batch of a role, on the device and ready for the network."""
        if role == "test":
            raise ValueError("Expected `role` to be weights, arch or selection, but got 'test'.")
        for batch in self.data.loader(role, all_samples=True):
            yield self._ready(batch)

    def _ready(self, batch: Batch) -> Batch:
        moved = self.data.transfer_batch_to_device(batch, self.device, 0)
        ready: Batch = self.data.prepare(moved, augment=False)
        return ready._replace(images=ready.images.to(self.dtype))

    @property
    def measured(self) -> Role:
        """The role on which the supernet is measured: selection, or arch if selection is empty."""
        return "selection" if len(self.data.split.indices["selection"]) else "arch"
