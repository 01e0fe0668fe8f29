"""Handwritten digits among clutter: a classification task that needs no download and on which architectures differ."""

from __future__ import annotations

from math import cos, radians, sin
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from robustnas.data.augmentation import Augmentation
from robustnas.data.images import Images
from robustnas.data.module import ImageData

Integers = npt.NDArray[np.int64]

ONE = 1 << 12  # a pixel, and the number 1, in fixed point
ORIGINAL = 8  # side of an original in pixels
SIDE = 12
TEST_ORIGINALS = 599  # a third of 1,797
ROTATION = 15  # degrees
SCALE = (64, 77)  # 64ths
CONTRAST = (50, 100)  # percent
PIECES, PIECE = 1, 4  # pieces of other digits, and their side
NOISE = 4  # grey levels: the sum of four uniform draws between -4 and 4
BACKGROUND = 40


class ClutteredDigits(ImageData):
    """Digits of scikit-learn, rotated, scaled and shifted on 12 x 12 pixels, with a piece of another digit and noise.

    The 1,797 originals are divided into 1,198 for training and 599 for testing; no original, and no piece of one, is in
    both parts. Each is drawn several times. Roles of the training part share originals, but no image. Images are made
    from the raw bits of PCG64 in integer arithmetic, so they are the same on every machine.

    Args:
        drawings: Images of each training original; by default 3, which are 3,594 images.
        test_drawings: Images of each test original; by default 5, which are 2,995 images.
        task_seed: Seed of the division of the originals and of the images. The embedded table of accuracies is that of
            the default task.
        augmentation: Augmentation of training images, by default none.
        **shared: Arguments of :class:`~robustnas.data.module.ImageData`; ``test_fraction`` has no effect.

    Raises:
        ValueError: If a number of drawings is below one, or the seed is negative.

    Reference:
        Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
    """

    def __init__(
        self,
        drawings: int = 3,
        test_drawings: int = 5,
        task_seed: int = 0,
        augmentation: Augmentation | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(augmentation=augmentation, **shared)
        for name, value, least in (
            ("drawings", drawings, 1), ("test_drawings", test_drawings, 1), ("task_seed", task_seed, 0),
        ):  # fmt: skip
            if value < least:
                raise ValueError(f"Expected `{name}` to be at least {least}, but got {value}.")
        self.drawings = drawings
        self.test_drawings = test_drawings
        self.task_seed = task_seed

    @property
    def source(self) -> str:
        """Kind and seed of the task."""
        return f"{type(self).__name__}(drawings={self.drawings}, task_seed={self.task_seed})"

    def load(self) -> tuple[Images, Images]:
        """Draw the training and the test part from disjoint originals."""
        test, train = np.split(divide_originals(self.task_seed), [TEST_ORIGINALS])
        return self._part(train, self.drawings, 1), self._part(test, self.test_drawings, 2)

    def _part(self, which: Integers, drawings: int, stream: int) -> Images:
        from sklearn.datasets import load_digits

        digits = load_digits()
        grey = (digits.images[which] * 255 / 16).round().astype(np.int64)
        pixels = draw_images(grey, drawings, Draws(self.task_seed, stream)).astype(np.uint8)
        targets = np.tile(digits.target[which].astype(np.int64), drawings)
        reading = {"originals": np.sort(which).tolist(), "drawings": drawings}
        classes = tuple(map(str, digits.target_names))
        return Images(torch.from_numpy(pixels)[:, None], torch.from_numpy(targets), "classification", classes, reading)


class Draws:
    """Uniform integers from the raw bits of PCG64, which numpy keeps the same in every version."""

    def __init__(self, *seed: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed))

    def between(self, low: int, high: int, *shape: int) -> Integers:
        """Integers from ``low`` to ``high``, both included."""
        raw = np.asarray(self._bits.random_raw(int(np.prod(shape))), np.uint64).reshape(shape)
        below = ((raw >> np.uint64(32)) * np.uint64(high - low + 1)) >> np.uint64(32)
        return below.astype(np.int64) + low

    def permutation(self, count: int) -> Integers:
        """A random order of ``count`` numbers."""
        return np.asarray(self._bits.random_raw(count), np.uint64).argsort(kind="stable").astype(np.int64)


def divide_originals(seed: int, count: int = 1797) -> Integers:
    """Originals in random order; the first 599 are for testing."""
    return Draws(seed, 0).permutation(count)


def draw_images(originals: Integers, drawings: int, draws: Draws) -> Integers:
    """Draw every original ``[n, 8, 8]`` several times: ``[drawings * n, 12, 12]``, grey levels 0 to 255."""
    which = np.tile(np.arange(len(originals)), drawings)
    canvas = _fade(_place(originals[which], draws), draws)
    for _ in range(PIECES):
        canvas = np.maximum(canvas, _piece(originals, len(which), draws))
    noise = draws.between(-NOISE, NOISE, *canvas.shape, 4).sum(axis=3)
    images: Integers = np.clip(canvas + noise + BACKGROUND, 0, 255)
    return images


def _place(images: Integers, draws: Draws) -> Integers:
    """Rotate, scale and shift each image onto a canvas, by bilinear sampling in fixed point."""
    count = len(images)
    angles = [radians(angle) for angle in range(-ROTATION, ROTATION + 1)]
    turns = np.array([[round(ONE * cos(angle)), round(ONE * sin(angle))] for angle in angles], np.int64)
    turn = turns[draws.between(0, len(turns) - 1, count)]
    c, s = turn[:, 0, None, None], turn[:, 1, None, None]
    scale = draws.between(*SCALE, count)[:, None, None]
    room = (SIDE * ONE - 6 * scale * ONE // 64) // 2  # the outer pixels of most originals are empty
    shift = draws.between(-ONE, ONE, count, 2)[:, :, None, None] * room[:, None] // ONE
    from_centre = (2 * np.arange(SIDE, dtype=np.int64) - SIDE + 1) * ONE // 2
    y, x = from_centre[:, None] - shift[:, 0], from_centre - shift[:, 1]
    centre = (ORIGINAL - 1) * ONE // 2
    row = (c * y + s * x) // ONE * 64 // scale + centre
    column = (c * x - s * y) // ONE * 64 // scale + centre
    return _bilinear(images, row, column)


def _bilinear(images: Integers, row: Integers, column: Integers) -> Integers:
    """Grey levels of each image at fixed-point positions, 0 outside."""
    padded = np.pad(images, ((0, 0), (1, 2), (1, 2)))
    inside = (row >= -ONE) & (row < ORIGINAL * ONE) & (column >= -ONE) & (column < ORIGINAL * ONE)
    row, column = np.where(inside, row, 0) + ONE, np.where(inside, column, 0) + ONE
    top, left, down, right = row // ONE, column // ONE, row % ONE, column % ONE
    image = np.arange(len(images))[:, None, None]
    upper = padded[image, top, left] * (ONE - right) + padded[image, top, left + 1] * right
    lower = padded[image, top + 1, left] * (ONE - right) + padded[image, top + 1, left + 1] * right
    return np.where(inside, (upper * (ONE - down) + lower * down) // (ONE * ONE), 0)


def _piece(originals: Integers, count: int, draws: Draws) -> Integers:
    """Canvases with a square piece of a random original, which may reach beyond the border."""
    image, along, margin = np.arange(count)[:, None, None], np.arange(PIECE), PIECE - 1
    other = originals[draws.between(0, len(originals) - 1, count)]
    row, column = draws.between(0, ORIGINAL - PIECE, 2, count)[:, :, None, None]
    piece = _fade(other[image, row + along[:, None], column + along], draws)
    row, column = draws.between(0, SIDE + PIECE - 2, 2, count)[:, :, None, None]
    canvas = np.zeros((count, SIDE + 2 * margin, SIDE + 2 * margin), np.int64)
    canvas[image, row + along[:, None], column + along] = piece
    return canvas[:, margin:-margin, margin:-margin]


def _fade(images: Integers, draws: Draws) -> Integers:
    return images * draws.between(*CONTRAST, len(images))[:, None, None] // 100
