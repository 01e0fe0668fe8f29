"""Remarks on a data set are logged once, are correct, and are in the manifest."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from numbered import Recorder, trainer
from pictures import write

from robustnas.data import ImageData, ImageFolder, Images
from robustnas.data.images import Duplicates, count_duplicates
from robustnas.data.remarks import remarks
from robustnas.data.roles import SplitImages


def images(labels, pixels=None, classes=("a", "b"), **more):
    count = len(labels)
    if pixels is None:
        pixels = torch.randint(0, 256, (count, 1, 3, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Images(pixels, torch.tensor(labels), "classification", classes, **more)


def split(train, test=None, fractions=(0.5, 0.5, 0.0), test_fraction=0.0):
    return SplitImages(train, test, fractions, test_fraction, seed=0)


def test_enough_different_images_are_not_worth_a_word():
    assert remarks(split(images([0, 1] * 10))) == []


def test_rare_classes_are_named_with_their_counts():
    said = remarks(split(images([0] * 20 + [1] * 9)))
    assert said == ["Classes with fewer than 10 samples in the roles weights and arch together (1 of 2): 'b' (9)."]


def test_many_rare_classes_are_counted_and_the_first_named():
    classes = tuple(f"c{i:02}" for i in range(30))
    (said,) = remarks(split(images([i for i in range(30) for _ in range(2)], classes=classes)))
    assert said.startswith("Classes with fewer than 10 samples in the roles weights and arch together (30 of 30): ")
    assert said.endswith("'c09' (2), and 20 more.")


def test_classes_that_a_role_lacks_are_named():
    test = images([0] * 3, torch.arange(27, dtype=torch.uint8).view(3, 1, 3, 3), classes=("a", "b", "c"))
    said = remarks(split(images([0, 1] * 10, classes=("a", "b", "c")), test))
    assert said[0] == "Classes with fewer than 10 samples in the roles weights and arch together (1 of 3): 'c' (0)."
    assert said[1] == (
        "Some roles lack samples of a class: weights has none of 'c'; arch has none of 'c'; test has none of 'b', 'c'."
    )


def test_labels_are_counted_by_their_positive_samples():
    targets = torch.zeros(20, 2)
    targets[:, 0] = 1
    pixels = images([0, 1] * 10).pixels
    whole = split(Images(pixels, targets, "multilabel", ("sun", "wind")))
    assert "Labels with fewer than 10 samples in the roles weights and arch together (1 of 2): 'wind' (0)." in remarks(
        whole
    )


def test_images_of_one_colour_are_counted():
    pixels = torch.randint(0, 256, (20, 3, 3, 3), dtype=torch.uint8)
    pixels[3], pixels[4] = torch.tensor([1, 2, 3])[:, None, None], 0
    pixels[5] = 0
    pixels[5, 2, 1, 1] = 1
    assert [one for one in remarks(split(images([0, 1] * 10, pixels))) if one.startswith("2 of 20 images have")]


def brute(parts):
    """Duplicates by comparing every image with every other one."""
    flat = [(pixels[i].flatten().tolist(), roles[i]) for pixels, roles in parts for i in range(len(pixels))]
    kinds = [list(kind) for kind in {tuple(values) for values, _ in flat}]
    held = [{role for values, role in flat if values == kind and role} for kind in kinds]
    across = [roles for roles in held if len(roles) > 1]
    return Duplicates(len(flat) - len(kinds), len(across), sum("test" in roles for roles in across))


@pytest.mark.parametrize("side", [2, 9])  # fewer and more values than are compared first
@pytest.mark.parametrize("seed", range(2))
def test_duplicates_are_those_of_a_comparison_of_all(side, seed):
    draw = np.random.default_rng(seed)
    kinds = draw.integers(0, 256, (6, 3, side, side), dtype=np.uint8)
    kinds[1] = kinds[0]
    kinds[1].reshape(-1)[1] ^= 1  # differs in a value that is not compared first
    parts = []
    for count in (9, 4):
        names = [None if i == 4 else ["weights", "arch", "selection", "test"][i] for i in draw.integers(0, 5, count)]
        parts.append((torch.from_numpy(kinds[draw.integers(0, 6, count)]), names))
    assert count_duplicates(parts) == brute(parts)


def test_duplicates_across_roles_are_said_and_recorded():
    train = images([0, 1] * 10)
    test = images([0, 1, 0], train.pixels[[0, 5, 5]])
    whole = split(train, test)
    assert whole.describe()["duplicates"] == {"copies": 3, "across_roles": 2, "with_test": 2}
    assert remarks(whole)[-1] == (
        "3 images have the same pixels as another one; 2 distinct images lie in more than one role, 2 of them in test, "
        "and results on images that were trained on are too optimistic."
    )


class Fixed(ImageData):
    def __init__(self, train, **shared):
        super().__init__(augmentation=None, batch_size=2, **shared)
        self.held = train

    def load(self):
        return self.held, None


def test_it_is_said_once_in_a_run(tmp_path, caplog):
    data = Fixed(images([0, 1] * 9, reading={"unreadable": ["x.png (an empty file)"], "hidden": 4}))
    with caplog.at_level(logging.WARNING, "robustnas.data"):
        run = trainer(tmp_path, max_epochs=1)
        run.fit(model := Recorder(), datamodule=data)
        run.test(model, datamodule=data)
    said = [record.getMessage() for record in caplog.records if record.name.startswith("robustnas.data")]
    assert len(said) == len(set(said)) == 2
    assert said[0] == (
        "The training part: left out 1 image that cannot be read (x.png (an empty file)); left out 4 images that are "
        "hidden or lie in hidden folders."
    )


def test_without_a_run_nothing_is_said(caplog):
    with caplog.at_level(logging.WARNING, "robustnas.data"):
        Fixed(images([0, 1] * 9)).setup("fit")
    assert not caplog.records


def test_the_manifest_holds_what_was_skipped_in_every_part(tmp_path):
    for i, name in enumerate(["train/a", "train/b", "val/a", "test/b"]):
        for j in range(8):
            write(tmp_path / name / f"{j}.png", 10 * i + j)
        (tmp_path / name / "bad.png").write_bytes(b"")
    held = ImageFolder(tmp_path, skip_unreadable=True).describe()
    place = repr(str(tmp_path))[:-1]
    assert held["reading"] == {
        "training": {"unreadable": [f"{place}/train/{name}/bad.png' (an empty file)" for name in "ab"]},
        "validation": {"unreadable": [f"{place}/val/a/bad.png' (an empty file)"]},
        "test": {"unreadable": [f"{place}/test/b/bad.png' (an empty file)"]},
    }
    sizes = {role: held["roles"][role]["size"] for role in held["roles"]}
    assert sizes == {"weights": 8, "arch": 8, "selection": 8, "test": 8}
