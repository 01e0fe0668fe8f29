"""Image files to read."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image


def write(path, value=0, size=(4, 5)):
    """A lossless picture of random pixels, ``size`` being height and width; returns the pixels."""
    pixels = np.random.default_rng(value).integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return torch.from_numpy(pixels).permute(2, 0, 1)
