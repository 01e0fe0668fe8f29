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

    They cover the whole role on any number of processes, since one process measures.

    Args:
        data: The data of the run.
        device: Device of the batches.
        dtype: Type of the images.
    """

    def __init__(self, data: ImageData, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.data, self.device, self.dtype = data, device, dtype
        self._kept: dict[tuple[Role, int], list[Batch]] = {}

    def batches(self, role: Role, count: int) -> list[Batch]:
        """The first batches of a role, cached.

        Args:
            role: The role; never ``test``, which no measurement of a search may see.
            count: Number of batches; fewer if the role has no more.

        Returns:
            At least one batch.

        Raises:
            ValueError: If the role is ``test`` or empty.
        """
        if (role, count) not in self._kept:
            self._kept[role, count] = list(islice(self.all(role), count))
        return self._kept[role, count]

    def drawn(self, role: Role, count: int, size: int, seed: int) -> list[Batch]:
        """Random samples of a role, the same for one seed, in chunks.

        Args:
            role: As in :meth:`batches`.
            count: Number of samples; all if the role has fewer.
            size: Samples in a chunk. A remainder is spread over the chunks.
            seed: Seed of the draw.

        Returns:
            Chunks on the device, ready for the network.

        Raises:
            ValueError: As in :meth:`batches`.
        """
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
        """Every batch of a role, on the device and ready for the network.

        Args:
            role: As in :meth:`batches`.

        Yields:
            Batches.

        Raises:
            ValueError: As in :meth:`batches`.
        """
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
