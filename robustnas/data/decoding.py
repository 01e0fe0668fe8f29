"""Encoded images (PNG, JPEG, ...) to one ``uint8`` tensor."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track
from torch import Tensor

Channels = Literal[1, 3]
MANY = 2000  # images from which a progress bar is shown
CHUNK = 512
SIDE = 4096  # pixels of the side of an image; published searches and evaluations train on 32 to 600


class Encoded(NamedTuple):
    """An image that is still encoded: a ``name`` for messages, and its bytes or the file that holds them."""

    name: str
    content: bytes | Path


def decode(images: Sequence[Encoded], channels: Channels, image_size: int | None) -> Tensor:
    """Decode images with Pillow, several at a time.

    Args:
        images: What to decode.
        channels: 1 for grey images, 3 for colour; others are converted.
        image_size: Side of the square images to make: the shorter side is scaled to it and the centre kept. ``None``
            takes images as they are; they must then all have one size.

    Returns:
        ``uint8``, ``[images, channels, height, width]``.

    Raises:
        ValueError: If there are no images, an image cannot be decoded, or they differ in size.
    """
    check_options(channels, image_size)
    if not images:
        raise ValueError("Expected at least one image to decode, but got none.")
    pixels: np.ndarray | None = None
    progress = track(
        _decoded(images, channels, image_size),
        description=f"Decoding {len(images)} images",
        total=len(images),
        disable=len(images) < MANY,
        console=Console(stderr=True),
    )
    for i, array in enumerate(progress):
        if pixels is None:
            pixels = np.empty((len(images), *array.shape), np.uint8)
        elif array.shape != pixels.shape[1:]:
            first, other = ("x".join(map(str, shape[-2:])) for shape in (pixels.shape, array.shape))
            raise ValueError(
                f"Expected images of one height and width, but got {first} for {images[0].name} and {other} for "
                f"{images[i].name}; set `image_size` to bring them to one size."
            )
        pixels[i] = array
    return torch.from_numpy(pixels)


def check_options(channels: int, image_size: int | None) -> None:
    """Check what the user asked of the decoder.

    Args:
        channels: Number of channels.
        image_size: Side of the images, or ``None``.

    Raises:
        ValueError: If either is impossible.
    """
    if channels not in {1, 3}:
        raise ValueError(f"Expected `channels` to be 1 (grey) or 3 (colour), but got {channels}.")
    if image_size is not None and image_size < 1:
        raise ValueError(f"Expected `image_size` to be at least 1 or None, but got {image_size}.")
    if image_size is not None and image_size > SIDE:
        raise ValueError(f"Expected `image_size` to be at most {SIDE}, but got {image_size}.")


def _decoded(images: Sequence[Encoded], channels: Channels, image_size: int | None) -> Iterator[np.ndarray]:
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(images), CHUNK):  # a bounded number wait, so that an error ends the work soon
            yield from pool.map(lambda image: _decode(image, channels, image_size), images[start : start + CHUNK])


def _decode(encoded: Encoded, channels: Channels, image_size: int | None) -> np.ndarray:
    content = encoded.content
    try:
        with Image.open(BytesIO(content) if isinstance(content, bytes) else content) as opened:
            image = _eight_bit(ImageOps.exif_transpose(opened)).convert("L" if channels == 1 else "RGB")
        if image_size is not None:
            image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.BICUBIC)
    except Exception as error:  # Pillow's decoders raise many kinds
        raise ValueError(f"Expected {encoded.name} to be a readable image, but got {error}.") from error
    array = np.asarray(image)
    return array[None] if channels == 1 else array.transpose(2, 0, 1)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits, where Pillow would clip it."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in {"I", "F"}:
        raise ValueError(f"an image of mode {image.mode!r}, which has no 8-bit form")
    return image
