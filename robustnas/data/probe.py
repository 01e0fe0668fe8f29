"""The samples that a search is measured on, outside of training."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch

from robustnas.data.batch import Batch
from robustnas.data.module import ImageData
from robustnas.data.splits import Role


class Probe:
    """Batches of a role, always the same ones: in the order of the data set and without augmentation.

    They are those of the whole role on however many processes, since only one of them measures.

    Args:
        data: The data of the run.
        device: Where batches go.
        dtype: Type of the images.
    """

    def __init__(self, data: ImageData, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.data, self.device, self.dtype = data, device, dtype
        self._kept: dict[tuple[Role, int], list[Batch]] = {}

    def batches(self, role: Role, count: int) -> list[Batch]:
        """The first batches of a role, kept for the next time.

        Args:
            role: Whose samples; never ``test``, which no measure of a search may see.
            count: How many; fewer where the role has no more.

        Returns:
            At least one batch.

        Raises:
            ValueError: If the role is ``test``, or empty.
        """
        if (role, count) not in self._kept:
            self._kept[role, count] = list(islice(self.all(role), count))
        return self._kept[role, count]

    def drawn(self, role: Role, count: int, size: int, seed: int) -> list[Batch]:
        """Samples of a role drawn at random, the same ones for one seed, in chunks.

        Args:
            role: As in :meth:`batches`.
            count: How many samples; all where the role has fewer.
            size: Samples in a chunk. What is over is spread over the chunks.
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
        """Every batch of a role.

        Args:
            role: As in :meth:`batches`.

        Yields:
            Batches on the device, ready for the network.

        Raises:
            ValueError: As in :meth:`batches`.
        """
        if role == "test":
            raise ValueError("Expected `role` to be weights, arch or selection, but got 'test'.")
        for batch in self.data.loader(role, whole=True):
            yield self._ready(batch)

    def _ready(self, batch: Batch) -> Batch:
        moved = self.data.transfer_batch_to_device(batch, self.device, 0)
        ready: Batch = self.data.prepare(moved, augment=False)
        return ready._replace(images=ready.images.to(self.dtype))

    @property
    def measured(self) -> Role:
        """The role that the supernet's quality is measured on: selection, or arch where there is no such sample."""
        return "selection" if len(self.data.split.indices["selection"]) else "arch"
