"""Images as a network takes them, by the steps of training's evaluation: decode, resize, normalise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from robustnas.data.augmentation import normalise
from robustnas.data.decoding import Decoding, read_picture
from robustnas.data.input_spec import InputSpec

ImageLike = Tensor | Image.Image | str | os.PathLike[str]


class Preprocess(nn.Module):
    """Turns images into the input of a trained network, ``[batch, channels, height, width]``, on its device.

    A file or a PIL image is decoded and resized as the images of training were; a tensor ``[channels, height, width]``
    is ``uint8``, or floating point with values in [0, 1]. A sequence of these is a batch, and so is a tensor ``[batch,
    channels, height, width]``. Grey and colour are converted into each other only if training did so.

    Attributes:
        spec: Size, channels, mean, deviation and classes of the images of training.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        self.spec = spec
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(getattr(spec, name)), persistent=False)

    def forward(self, images: ImageLike | Sequence[ImageLike]) -> Tensor:
        """Return images read, resized and normalised, ``[batch, channels, height, width]``.

        Raises:
            ValueError: If an image cannot be read, or has another size or other channels than training takes.
        """
        if isinstance(images, Tensor) and images.dim() == 4 and self._fits(images):
            return self.normalise(images)
        if isinstance(images, (Image.Image, str, os.PathLike)) or (isinstance(images, Tensor) and images.dim() < 4):
            images = [images]
        read = [self.read(image) for image in images]
        for image, found in zip(images, read, strict=True):
            if isinstance(found, str):
                name = str(image) if isinstance(image, (str, os.PathLike)) else "an image"
                raise ValueError(f"Expected images like those of training, but {name} is {found}.")
        if not read:
            raise ValueError("Expected at least one image, but got none.")
        return self.normalise(torch.stack([found for found in read if isinstance(found, Tensor)]))

    def normalise(self, images: Tensor) -> Tensor:
        """Images of the right shape, ``uint8`` or floating point in [0, 1], to zero mean and unit deviation."""
        images = images.to(self.mean.device)
        if images.is_floating_point():
            images = images * 255
        return normalise(images, self.mean, self.std)

    def read(self, image: ImageLike | bytes) -> Tensor | str:
        """One image ``[channels, height, width]`` before normalisation, or why it is not like those of training."""
        channels, how = self.spec.shape[0], self.spec.decoding
        if isinstance(image, Tensor):
            if self._fits(image):
                return image
            if image.dim() != 3 or how is None or image.shape[0] not in (1, 3) or _range(image):
                return _range(image) or f"a tensor of shape {list(image.shape)}, not {list(self.spec.shape)}"
            image = _as_picture(image)
        if not isinstance(image, (bytes, str, os.PathLike, Image.Image)):
            return f"of the type {type(image).__name__}, not a path, a PIL image or a tensor [channels, height, width]"
        if channels not in (1, 3):
            return f"no tensor of {channels} channels, which no image file has"
        known = Decoding(3 if channels == 3 else 1) if how is None else how
        source = image if isinstance(image, (bytes, Image.Image)) else Path(image)
        picture = read_picture(source, known, convert=how is not None)
        if isinstance(picture, str):
            return picture
        if picture.array.shape != self.spec.shape:
            (height, width), (_, *wanted) = picture.array.shape[1:], self.spec.shape
            return f"of {height} x {width} pixels, not of {wanted[0]} x {wanted[1]} as in training, which resizes none"
        return torch.from_numpy(np.array(picture.array))

    def _fits(self, images: Tensor) -> bool:
        return tuple(images.shape[-3:]) == self.spec.shape and not _range(images)

    def extra_repr(self) -> str:
        """What the preprocessing does, in one line."""
        channels, height, width = self.spec.shape
        return f"{channels} x {height} x {width}, mean={list(self.spec.mean)}, std={list(self.spec.std)}"


def _range(images: Tensor) -> str:
    """What is wrong with the type or the values of a tensor of images."""
    if not images.numel():
        return f"a tensor without pixels, of shape {list(images.shape)}"
    if images.dtype == torch.uint8:
        return ""
    if not images.is_floating_point():
        return f"a tensor of {images.dtype}, not uint8 or floating point"
    low, high = images.min().item(), images.max().item()
    if not low <= high:
        return "in floating point with values that are no numbers"
    return "" if low >= 0 and high <= 1 else f"in floating point with values from {low:.3g} to {high:.3g}, not 0 to 1"


def _as_picture(image: Tensor) -> Image.Image:
    levels = image if image.dtype == torch.uint8 else (image * 255).round().to(torch.uint8)
    array = levels.cpu().permute(1, 2, 0).numpy()
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
