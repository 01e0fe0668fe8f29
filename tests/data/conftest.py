"""The helper modules beside the tests are importable; folders of images to read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def root(tmp_path):
    """Two classes, one image deeper down, one file that is no image; the folder and its pixels."""
    from pictures import write

    names = ["cat/a.png", "cat/b.PNG", "dog/c.bmp", "dog/deep/d.png"]
    expected = [write(tmp_path / "data" / name, i) for i, name in enumerate(names)]
    (tmp_path / "data" / "dog" / "notes.txt").write_text("not an image")
    return tmp_path / "data", torch.stack(expected)
