"""Batches, and the seeds of their random numbers."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Samples of one stream.

    Attributes:
        images: ``[batch, channels, height, width]``: ``uint8`` from the loader, floating point once
            :class:`~robustnas.data.module.ImageData` has normalised (and, in training, augmented) them.
        targets: ``[batch]`` class indices (``int64``) for classification; ``[batch, labels]`` for multilabel;
            ``[batch]`` or ``[batch, values]`` for regression, both floating point.
        seed: ``int64`` seed of the augmentation, from the data seed, the stream, the epoch, the position of the batch
            and the process. It stays on the CPU, so that reading it does not wait for the device.
    """

    images: Tensor
    targets: Tensor
    seed: Tensor


def derived_seed(*parts: int | str) -> int:
    """A seed below ``2 ** 63`` from numbers and names: similar parts give unrelated seeds, equal on all machines."""
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
