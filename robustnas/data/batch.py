"""What a loader yields, and the numbers from which a batch's randomness is drawn."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Some samples of one stream.

    Attributes:
        images: ``[batch, channels, height, width]``: ``uint8`` as the loader yields them, floating point once
            :class:`~robustnas.data.module.ImageData` has normalised (and, in training, augmented) them.
        targets: ``[batch]`` class indices (``int64``) for classification; ``[batch, labels]`` for multilabel;
            ``[batch]`` or ``[batch, values]`` for regression, both floating point.
        seed: ``int64`` scalar from which this batch's augmentation draws, a function of the data seed, the stream, the
            epoch, the batch's place in it and the process. It stays on the CPU, so that reading it costs no wait.
    """

    images: Tensor
    targets: Tensor
    seed: Tensor


def derived_seed(*parts: int | str) -> int:
    """A seed that depends on all ``parts`` and on nothing else.

    Nearby numbers (epoch 1, batch 2 and epoch 2, batch 1) give unrelated seeds, the same ones on every machine.

    Args:
        *parts: Numbers and names, for instance the user's seed, a stream's name, the epoch.

    Returns:
        A non-negative integer below ``2 ** 63``, so that it fits an ``int64`` tensor.
    """
    text = "/".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
