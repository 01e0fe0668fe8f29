"""Random crop, flip and cutout of whole batches, on the device of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from robustnas.data.batch import Batch


@dataclass(frozen=True)
class Augmentation:
    r"""Random crop, flip and cutout, drawn for every sample.

    With :math:`p` pixels of padding, pixel :math:`(i, j)` of an image becomes pixel

    .. math:: (i + d_y - p,\; j' + d_x - p), \quad d_x, d_y \sim U\{0, \dots, 2p\}, \quad j' \in \{j,\, w - 1 - j\},

    black outside the image. After normalisation a square around a uniformly drawn pixel, clipped at the border, is set
    to zero. All numbers are drawn on the CPU from the seed of the batch, whatever is switched on: they are the same on
    every device, and adding cutout does not change the crops.

    Args:
        crop: Pixels of padding :math:`p` on each side before the crop to the original size; 0 does not crop.
        flip: Whether half of the images are mirrored left to right.
        cutout: Side of the square, 0 for none. An even square extends one pixel further to the top and left.

    Raises:
        ValueError: If ``crop`` or ``cutout`` is negative.
    """

    crop: int = 4
    flip: bool = True
    cutout: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 0:
                raise ValueError(f"Expected `{name}` to be at least 0, but got {value}.")

    def __call__(self, images: Tensor, seed: int, mean: Tensor, std: Tensor) -> Tensor:
        """Augment ``uint8`` images ``[batch, channels, h, w]``, and normalise them by ``mean`` and ``std`` / 255."""
        top, left, flipped, row, column = self._draw(images, seed).to(images.device, non_blocking=True)
        if self.crop or self.flip:
            images = self._crop_and_flip(images, top, left, flipped)
        result = normalise(images, mean, std)
        if self.cutout:
            rows = _square(row, self.cutout, images.shape[2])
            columns = _square(column, self.cutout, images.shape[3])
            result.masked_fill_((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)
        return result

    def _draw(self, images: Tensor, seed: int) -> Tensor:
        batch, _, height, width = images.shape
        generator = torch.Generator().manual_seed(seed)
        offsets = 2 * self.crop + 1
        limits = (offsets, offsets, 2, height, width)
        return torch.stack([torch.randint(limit, (batch,), generator=generator) for limit in limits])  # [5, batch]

    def _crop_and_flip(self, images: Tensor, top: Tensor, left: Tensor, flipped: Tensor) -> Tensor:
        batch, channels, height, width = images.shape
        padded = pad(images, (self.crop,) * 4)
        rows = torch.arange(height, device=images.device) + top[:, None]  # [batch, height]
        columns = torch.arange(width, device=images.device).expand(batch, -1)  # [batch, width]
        if self.flip:
            columns = torch.where(flipped[:, None] > 0, width - 1 - columns, columns)
        columns = columns + left[:, None]
        index = rows[:, :, None] * padded.shape[3] + columns[:, None, :]  # [batch, height, width]
        index = index.view(batch, 1, -1).expand(-1, channels, -1)
        return padded.flatten(2).gather(2, index).view(batch, channels, height, width)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    r"""Normalise ``uint8`` images to zero mean and unit deviation, :math:`(x / 255 - \mu) / \sigma`."""
    scale = (1 / (255 * std)).view(-1, 1, 1)
    shift = (-mean / std).view(-1, 1, 1)
    return images.to(mean.dtype).mul_(scale).add_(shift)


def _square(centre: Tensor, side: int, length: int) -> Tensor:
    """Which of ``length`` positions lie inside the square, ``[batch, length]``."""
    place = torch.arange(length, device=centre.device) - (centre - side // 2)[:, None]
    return (place >= 0) & (place < side)


class Preparation:
    """Turns ``uint8`` batches into network inputs: normalises by ``mean`` and ``std`` / 255, augments on demand."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], augmentation: Augmentation | None) -> None:
        if len(mean) != len(std) or not all(value > 0 for value in std):
            raise ValueError(
                "Expected `mean` and `std` to have one value for each channel, and `std` values above 0, "
                f"but got {tuple(mean)} and {tuple(std)}."
            )
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.augmentation = augmentation
        self._statistics: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    def __call__(self, batch: Batch, augment: bool = False) -> Batch:
        """Normalise a batch on its device, and augment it if ``augment`` is set."""
        key = batch.images.device, torch.get_default_dtype()
        if key not in self._statistics:
            mean, std = (torch.tensor(values, device=key[0], dtype=key[1]) for values in (self.mean, self.std))
            self._statistics[key] = mean, std
        mean, std = self._statistics[key]
        if augment and self.augmentation is not None:
            return batch._replace(images=self.augmentation(batch.images, int(batch.seed), mean, std))
        return batch._replace(images=normalise(batch.images, mean, std))
