"""Batches of images in memory, in an order that resumes exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from robustnas.data.batch import Batch, derived_seed
from robustnas.data.images import Images


class TensorLoader:
    """Yields batches of some samples; its position is a few numbers in a checkpoint.

    The order of a pass depends on ``seed``, ``stream``, the epoch and the number of passes in that epoch (a short
    stream beside a longer one is cycled, in another order each time). The global random state is not used. Process
    ``rank`` takes every ``world_size``-th sample of the common order, so that all processes together see each batch of
    a single process with ``batch_size * world_size`` samples.

    Lightning finds :meth:`set_epoch` through ``sampler`` and saves and restores :meth:`state_dict`.

    Args:
        images: The data.
        indices: Samples to yield, ``int64``.
        batch_size: Samples in a batch of one process.
        shuffle: Whether each pass has its own random order; otherwise that of ``indices``.
        drop_last: Whether an incomplete last batch is dropped, as in training. Otherwise every sample is seen exactly
            once over all processes, without padding.
        seed: Seed of the order and of the batches.
        stream: Name that separates the random numbers of this loader from those of others with the same seed.
        rank: Rank of this process.
        world_size: Number of processes.

    Raises:
        ValueError: If ``batch_size`` is below one, there are no samples, or, with ``drop_last``, too few for a batch.
    """

    def __init__(
        self,
        images: Images,
        indices: Tensor,
        batch_size: int,
        *,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int = 0,
        stream: str = "",
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"Expected `batch_size` to be at least 1, but got {batch_size}.")
        if not len(indices):
            raise ValueError(f"Expected the stream {stream!r} to have at least one sample, but got none.")
        if drop_last and len(indices) < batch_size * world_size:
            processes = f" on each of {world_size} processes" if world_size > 1 else ""
            raise ValueError(
                f"Expected `batch_size` to give at least one full batch of the {len(indices)} samples of "
                f"{stream!r}, but got {batch_size}{processes}."
            )
        self.images = images
        self.indices = indices
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        self.stream = stream
        self.rank = rank
        self.world_size = world_size
        self._epoch = 0
        self._cycle = 0  # passes finished in this epoch
        self._batch = 0  # batches yielded in this pass
        self.batch_sampler = None  # Lightning reads it from loaders with a `sampler`
        self._start = 0  # first batch of the next iteration, not 0 only after loading a state

    @property
    def sampler(self) -> TensorLoader:
        """The loader itself: Lightning looks for :meth:`set_epoch` here."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of another epoch; the current epoch changes nothing."""
        if epoch != self._epoch:
            self._epoch, self._cycle, self._batch, self._start = epoch, 0, 0, 0

    def state_dict(self) -> dict[str, int]:
        """The position, and the sizes that it depends on."""
        return {"epoch": self._epoch, "cycle": self._cycle, "batch": self._batch, **self._geometry()}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue from a saved position; inside a pass this needs the same batches."""
        geometry = self._geometry()
        batch = state["batch"]
        if any(state[key] != value for key, value in geometry.items()):
            if 0 < batch < state["batches"]:
                was = {key: state[key] for key in geometry}
                raise ValueError(
                    f"Expected a checkpoint saved inside an epoch to be resumed with the same batches of "
                    f"{self.stream!r}, {was}, but got {geometry}."
                )
            batch = len(self) if batch else 0
        self._epoch, self._cycle, self._batch, self._start = state["epoch"], state["cycle"], batch, batch

    def __len__(self) -> int:
        share = self.batch_size * self.world_size
        if self.drop_last:
            return len(self.indices) // share
        own = len(range(self.rank, len(self.indices), self.world_size))
        return -(-own // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        # No side effect before the first batch is requested: Lightning makes iterators that it never uses.
        first, self._start = self._start, 0
        epoch, cycle = self._epoch, self._cycle
        order = self._order(epoch, cycle)
        for index in range(first, len(self)):
            self._batch = index + 1
            chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
            seed = derived_seed(self.seed, self.stream, epoch, cycle, index, self.rank)
            yield Batch(self.images.pixels[chosen], self.images.targets[chosen], torch.tensor(seed))
        self._cycle, self._batch = cycle + 1, 0

    def _order(self, epoch: int, cycle: int) -> Tensor:
        order = self.indices
        if self.shuffle:
            generator = torch.Generator().manual_seed(derived_seed(self.seed, self.stream, epoch, cycle))
            order = order[torch.randperm(len(order), generator=generator)]
        return order[self.rank :: self.world_size]

    def _geometry(self) -> dict[str, int]:
        samples = len(self.indices)
        return {"samples": samples, "batch_size": self.batch_size * self.world_size, "batches": len(self)}
