"""Data sets of the hub become parts; a stand-in for `datasets` replaces the network."""

from __future__ import annotations

import sys
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from robustnas.data import HubImages, hub


def picture(value):
    pixels = np.random.default_rng(value).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue(), torch.from_numpy(pixels).permute(2, 0, 1)


def cells(*values):
    return [{"bytes": picture(value)[0], "path": None} for value in values]


class Part:
    """As much of a `datasets.Dataset` as is used: columns that decode images unless told not to."""

    def __init__(self, columns, features, decoding=True):
        self.columns = columns
        self.features = features
        self.decoding = decoding
        self.column_names = list(columns)

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name):
        assert name != "image" or not self.decoding, "images were left to be decoded by the library"
        return list(self.columns[name])

    def select(self, rows):
        return Part({name: [values[i] for i in rows] for name, values in self.columns.items()}, self.features)

    def cast_column(self, name, feature):
        assert feature == "undecoded"
        return Part(self.columns, self.features, decoding=False)


@pytest.fixture
def library(monkeypatch):
    """A stand-in for `datasets` with one data set and a record of what was asked."""
    features = {"image": None, "label": SimpleNamespace(names=["ant", "bee"])}
    parts = {
        "train": Part({"image": cells(0, 1, 2), "label": [1, 0, 1]}, features),
        "test": Part({"image": cells(3), "label": [0]}, features),
        "extra": Part({"image": cells(4, 5), "label": [1, 1]}, features),
    }
    asked = []

    def load_dataset(name, subset, revision):
        asked.append((name, subset, revision))
        return parts

    def image(decode):
        assert not decode
        return "undecoded"

    fake = SimpleNamespace(load_dataset=load_dataset, Image=image, asked=asked, parts=parts)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    return fake


def test_splits_become_parts(library):
    train, test = HubImages("some/thing", subset="small", revision="abc").load()
    assert library.asked == [("some/thing", "small", "abc")]
    assert torch.equal(train.pixels, torch.stack([picture(value)[1] for value in range(3)]))
    assert train.targets.tolist() == [1, 0, 1]
    assert train.classes == test.classes == ("ant", "bee")
    assert torch.equal(test.pixels[0], picture(3)[1])


def test_without_a_test_split_one_is_carved_out(library):
    del library.parts["test"]
    assert HubImages("some/thing").load()[1] is None


def test_splits_can_be_named(library):
    assert HubImages("some/thing", test_split=None).load()[1] is None
    assert len(HubImages("some/thing", test_split="extra").load()[1]) == 2
    with pytest.raises(ValueError, match=r"the split 'tset', but its splits are \['train', 'test', 'extra'\]"):
        HubImages("some/thing", test_split="tset").load()
    with pytest.raises(ValueError, match="the split 'training'"):
        HubImages("some/thing", train_split="training").load()


def test_limit_takes_the_first_rows(library):
    assert HubImages("some/thing", limit=2).load()[0].targets.tolist() == [1, 0]


def test_a_missing_column_is_named(library):
    with pytest.raises(ValueError, match=r"split 'train' .* 'img', but its columns are \['image', 'label'\]"):
        HubImages("some/thing", image_column="img").load()


def test_a_corrupt_image_is_named(library):
    library.parts["train"].columns["image"][1] = {"bytes": b"broken", "path": None}
    with pytest.raises(ValueError, match=r"got 1 that is not: row 1 of split 'train' of 'some/thing' \(not an image"):
        HubImages("some/thing").load()


def test_decoded_images_are_kept_where_told(library, tmp_path, monkeypatch):
    first = HubImages("some/thing", cache_dir=tmp_path).load()
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(hub, "decode", lambda: None)  # fails if it is called
    second = HubImages("some/thing", cache_dir=tmp_path).load()
    assert [part.content_hash() for part in first] == [part.content_hash() for part in second]
    library.parts["train"].columns["image"][1] = cells(8)[0]
    with pytest.raises(TypeError):
        HubImages("some/thing", cache_dir=tmp_path).load()


def test_offline_is_said_clearly(library):
    def refuse(*_, **__):
        raise ConnectionError("Couldn't reach 'some/thing' on the Hub")

    library.load_dataset = refuse
    with pytest.raises(
        ValueError, match=r"'some/thing' to be on the Hugging Face hub .* ConnectionError: Couldn't reach"
    ):
        HubImages("some/thing").load()


def test_a_missing_library_is_said_clearly(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r'pip install "robustnas\[hf\]"'):
        HubImages("some/thing").load()


def test_the_manifest_names_the_revision():
    assert HubImages("some/thing", revision="abc").source == "HubImages(some/thing, abc)"
