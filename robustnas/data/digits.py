"""Handwritten digits of scikit-learn: small real images that need no download."""

from __future__ import annotations

from typing import Any

import torch

from robustnas.data.augmentation import Augmentation
from robustnas.data.images import Images
from robustnas.data.module import ImageData


class Digits(ImageData):
    """1,797 grey images of 8 x 8 pixels in ten classes of about 180 each.

    The grey levels 0 to 16 are scaled to 0 to 255. There is no test part: ``test_fraction`` of the images becomes one.

    Args:
        augmentation: Augmentation of training images. The default shifts by at most one pixel, an eighth of the width,
            and does not flip, since digits are not symmetric.
        **shared: Arguments of :class:`~robustnas.data.module.ImageData`.

    Reference:
        Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
    """

    def __init__(self, augmentation: Augmentation | None = Augmentation(crop=1, flip=False), **shared: Any) -> None:
        super().__init__(augmentation=augmentation, **shared)

    def load(self) -> tuple[Images, None]:
        """The images, without a test part."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8)[:, None]
        targets = torch.from_numpy(digits.target).to(torch.int64)
        return Images(pixels, targets, "classification", tuple(map(str, digits.target_names))), None
