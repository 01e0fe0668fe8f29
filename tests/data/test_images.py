"""Images and targets are checked once, and their statistics are exact."""

from __future__ import annotations

import pytest
import torch
from tables import check_each

from robustnas.data import Images
from robustnas.data.images import pixel_statistics

PIXELS = torch.arange(4 * 3 * 2 * 2, dtype=torch.uint8).reshape(4, 3, 2, 2)
LABELS = torch.tensor([0, 1, 1, 0])


def labelled(**changes):
    fields = {"pixels": PIXELS, "targets": LABELS, "task": "classification", "classes": ("cat", "dog")}
    return Images(**{**fields, **changes})


def test_images_know_their_shape_and_counts():
    images = labelled(targets=torch.tensor([0, 1, 1, 1]))
    assert len(images) == 4
    assert images.shape == (3, 2, 2)
    assert images.class_counts() == {"cat": 1, "dog": 3}


def test_select_copies_rows_in_the_order_asked_for():
    chosen = labelled().select(torch.tensor([2, 0]))
    assert torch.equal(chosen.pixels, torch.stack([PIXELS[2], PIXELS[0]]))
    assert chosen.targets.tolist() == [1, 0]
    assert chosen.classes == ("cat", "dog")


def test_multilabel_counts_positives_and_regression_has_none():
    values = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    assert labelled(targets=values, task="multilabel").class_counts() == {"cat": 1, "dog": 3}
    assert labelled(targets=values, task="regression").class_counts() == {}


@pytest.mark.parametrize("targets", [torch.tensor([0.5, 1.0, -3.0, 8.0]), torch.rand(4, 1)])
def test_regression_on_one_value_takes_both_shapes(targets):
    assert len(labelled(targets=targets, task="regression", classes=("age",))) == 4


def test_the_content_hash_sees_every_value_and_the_shape():
    base = labelled().content_hash()
    pixels = PIXELS.clone()
    pixels[3, 2, 1, 1] += 1
    assert base == labelled().content_hash()
    assert base != labelled(pixels=pixels).content_hash()
    assert base != labelled(targets=torch.tensor([0, 1, 1, 1])).content_hash()
    assert base != labelled(pixels=PIXELS.reshape(4, 3, 1, 4)).content_hash()


def test_bad_images_are_named():
    rows = [
        ({"task": "ranking"}, "Expected `task` to be one of .* but got 'ranking'"),
        ({"pixels": PIXELS.float()}, "Expected `pixels` to be uint8 .* but got torch.float32"),
        ({"pixels": PIXELS[0]}, r"but got torch.uint8 of shape \[3, 2, 2\]"),
        ({"pixels": PIXELS[:0], "targets": LABELS[:0]}, r"at least one image, but got the shape \[0, 3, 2, 2\]"),
        ({"targets": LABELS[:3]}, "one entry for each of 4 images, but got 3"),
        ({"classes": ("cat",), "targets": LABELS * 0}, r"at least two for classification, but got \['cat'\]"),
        ({"targets": LABELS.float()}, "int64 of shape .* but got torch.float32"),
        ({"targets": torch.tensor([0, 2, 1, 0])}, "between 0 and 1 for 2 classes, but got labels from 0 to 2"),
        ({"targets": torch.tensor([0, -1, 1, 0])}, "but got labels from -1 to 1"),
        ({"task": "multilabel"}, "floating point of shape"),
        ({"task": "multilabel", "targets": torch.rand(4)}, "floating point of shape"),
        ({"task": "multilabel", "targets": torch.rand(4, 3)}, "name each of 3 outputs, but got"),
        ({"task": "multilabel", "targets": torch.full((4, 2), 1.5)}, r"between 0 and 1, but got \[1.5, 1.5\]"),
        ({"task": "regression", "targets": torch.rand(4)}, "name each of 1 outputs"),
        (
            {"task": "regression", "targets": torch.tensor([[0, 0], [1, 1], [2, float("nan")], [0, 0]])},
            r"finite, but got \[2.0, nan\] for sample 2",
        ),
    ]

    def check(row):
        changes, message = row
        with pytest.raises(ValueError, match=message):
            labelled(**changes)

    check_each(rows, check)


def test_pixel_statistics_are_those_of_the_chosen_samples():
    pixels = torch.randint(0, 256, (5000, 2, 3, 4), dtype=torch.uint8)
    chosen = torch.randperm(5000)[:4500]
    mean, std = pixel_statistics(pixels, chosen)
    wanted = pixels[chosen].double().div(255).transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean, wanted.mean(1), rtol=1e-12, atol=0)
    torch.testing.assert_close(std, wanted.std(1, correction=0), rtol=1e-12, atol=0)


def test_a_constant_channel_has_deviation_one():
    mean, std = pixel_statistics(torch.full((3, 1, 2, 2), 51, dtype=torch.uint8), torch.arange(3))
    assert mean.tolist() == pytest.approx([0.2])
    assert std.tolist() == [1.0]
