"""Decoding images (PNG, JPEG, ...) to one ``uint8`` tensor."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.console import Console
from rich.progress import track

from robustnas.data.images import Images, Task
from robustnas.data.targets import Targets
from robustnas.data.wording import listed
from robustnas.runtime.environment import usable_cores

Channels = Literal[1, 3]
PROGRESS_FROM = 2000  # images from which a progress bar is shown
CHUNK = 512
MAX_SIDE = 4096  # pixels of the side of an image; published searches and evaluations train on 32 to 600


@dataclass(frozen=True)
class Decoding:
    """How images are decoded; the fields are arguments of :class:`~robustnas.data.folder.ImageFolder`."""

    channels: Channels = 3
    image_size: int | None = None
    background: int = 255
    skip_unreadable: bool = False

    def __post_init__(self) -> None:
        if self.channels not in {1, 3}:
            raise ValueError(f"Expected `channels` to be 1 (grey) or 3 (colour), but got {self.channels}.")
        if self.image_size is not None and self.image_size < 1:
            raise ValueError(f"Expected `image_size` to be at least 1 or None, but got {self.image_size}.")
        if self.image_size is not None and self.image_size > MAX_SIDE:
            raise ValueError(f"Expected `image_size` to be at most {MAX_SIDE}, but got {self.image_size}.")
        if not 0 <= self.background <= 255:
            raise ValueError(f"Expected `background` to be a grey level from 0 to 255, but got {self.background}.")


class Encoded(NamedTuple):
    """An encoded image: its name in messages, its bytes or file, or ``None`` and what was found instead."""

    name: str
    content: bytes | Path | None
    found: str = ""


class Picture(NamedTuple):
    """A decoded image ``[channels, height, width]``, what was changed, and whether Pillow would warn of its size."""

    array: np.ndarray
    transparent: bool
    several_frames: bool
    huge: bool


def decode(images: Sequence[Encoded], targets: Targets, task: Task, how: Decoding) -> Images:
    """Decode images with Pillow in threads; ``reading`` records those that are unreadable, composited or animated."""
    if not images:
        raise ValueError("Expected at least one image to decode, but got none.")
    pixels: np.ndarray | None = None
    unreadable: list[str] = []
    kept: list[int] = []
    changed = {"composited": 0, "first_frame": 0}
    huge: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # it does not name the file, as `huge` does
        for i, picture in enumerate(_pictures(images, how)):
            if isinstance(picture, str):
                unreadable.append(f"{images[i].name} ({picture})")
                continue
            array = picture.array
            if pixels is None:
                pixels = np.empty((len(images), *array.shape), np.uint8)
            elif array.shape != pixels.shape[1:]:
                first, other = ("x".join(map(str, shape[-2:])) for shape in (pixels.shape, array.shape))
                raise ValueError(
                    f"Expected all images to have one size, but got {first} for {images[kept[0]].name} and {other} for "
                    f"{images[i].name}; set `image_size` to bring them to one size."
                )
            pixels[len(kept)] = array
            kept.append(i)
            changed["composited"] += picture.transparent
            changed["first_frame"] += picture.several_frames
            huge += [images[i].name] * picture.huge
    if unreadable and not (how.skip_unreadable and kept):
        raise ValueError(_refusal(unreadable, len(images), bool(kept)))
    noted: dict[str, Any] = {**changed, "unreadable": unreadable, "huge": huge}
    reading = {name: found for name, found in noted.items() if found}
    assert pixels is not None
    return Images(torch.from_numpy(pixels[: len(kept)]), targets.values[kept], task, targets.names, reading)


def _refusal(unreadable: list[str], count: int, some: bool) -> str:
    advice = "; `skip_unreadable: true` leaves such images out" if some else ""
    return (
        f"Expected each of {count} images to be readable, but got {len(unreadable)} that "
        f"{'is' if len(unreadable) == 1 else 'are'} not: {listed(unreadable)}{advice}."
    )


def _pictures(images: Sequence[Encoded], how: Decoding) -> Iterator[Picture | str]:
    count, console = len(images), Console(stderr=True)
    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
        chunks = (images[start : start + CHUNK] for start in range(0, count, CHUNK))  # an error stops the work soon
        pictures = chain.from_iterable(pool.map(partial(_picture, how=how), chunk) for chunk in chunks)
        yield from track(pictures, f"Decoding {count} images", count, disable=count < PROGRESS_FROM, console=console)


def read_picture(source: bytes | Path | Image.Image, how: Decoding, convert: bool = True) -> Picture | str:
    """Return the decoded image, or the reason why it cannot be decoded.

    Unless ``convert``, an image is refused that has not the channels of ``how`` or is transparent.
    """
    try:
        with _opened(source) as opened:
            image = _eight_bit(ImageOps.exif_transpose(opened), opened.format)
            several = _has_several_frames(opened)
            huge = opened.width * opened.height > (Image.MAX_IMAGE_PIXELS or math.inf)
        transparent, wanted = _is_transparent(image), "L" if how.channels == 1 else "RGB"
        if not convert and (transparent or image.mode not in {wanted, *(["1"] if wanted == "L" else ["P"])}):
            return f"of mode {image.mode}, where training took {wanted} and converted none"
        if transparent:
            background = Image.new("RGBA", image.size, (*[how.background] * 3, 255))
            image = Image.alpha_composite(background, image.convert("RGBA"))
        image = image.convert(wanted)
        if how.image_size is not None:
            image = ImageOps.fit(image, (how.image_size, how.image_size), Image.Resampling.BICUBIC)
        array = np.asarray(image)
    except Exception as error:  # Pillow's decoders raise many kinds
        return _reason(source, error)
    return Picture(array[None] if how.channels == 1 else array.transpose(2, 0, 1), transparent, several, huge)


def _opened(source: bytes | Path | Image.Image) -> AbstractContextManager[Image.Image]:
    if isinstance(source, Image.Image):
        return nullcontext(source)  # its owner closes it
    return Image.open(BytesIO(source) if isinstance(source, bytes) else source)


def _picture(encoded: Encoded, how: Decoding) -> Picture | str:
    return encoded.found if encoded.content is None else read_picture(encoded.content, how)


def _reason(content: bytes | Path | Image.Image, error: Exception) -> str:
    if content == b"" or (isinstance(content, Path) and content.is_file() and not content.stat().st_size):
        return "an empty file"
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a supported format"
    if isinstance(error, OSError) and error.strerror is not None:
        return f"unreadable: {error.strerror.lower()}"
    said = " ".join(str(error).split()) or type(error).__name__
    return said if isinstance(error, ValueError) else f"damaged: {said}"


def _eight_bit(image: Image.Image, file_format: str | None) -> Image.Image:
    """Scale 16-bit grey to 8 bits, where Pillow would clip it."""
    if image.mode.startswith("I;16") or (image.mode == "I" and file_format in {"PNG", "PPM"}):  # of 16 bits at most
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode in {"I", "F"}:
        raise ValueError(f"an image of mode {image.mode!r}, which has no 8-bit form")
    return image


def _is_transparent(image: Image.Image) -> bool:
    return image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] < 255  # type: ignore[operator]


def _has_several_frames(opened: Image.Image) -> bool:
    try:
        return bool(getattr(opened, "is_animated", False))
    except Exception:  # later frames may be damaged
        return True
