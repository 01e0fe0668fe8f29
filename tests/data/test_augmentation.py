"""Augmentation and normalisation equal a reference that treats one pixel at a time, and depend on the seed alone."""

from __future__ import annotations

import pytest
import torch

from robustnas.data import Augmentation, Batch
from robustnas.data.augmentation import Preparation, normalise

MEAN = torch.tensor([0.1, 0.5, 0.3])
STD = torch.tensor([0.2, 0.9, 0.4])


def images(batch=16, height=7, width=9):
    return torch.randint(1, 256, (batch, 3, height, width), dtype=torch.uint8)


def draws(augmentation, pixels, seed):
    """The numbers in the order the class promises: tops, lefts, flips, rows, columns."""
    generator = torch.Generator().manual_seed(seed)
    batch, _, height, width = pixels.shape
    offsets = 2 * augmentation.crop + 1
    limits = (offsets, offsets, 2, height, width)
    return [torch.randint(limit, (batch,), generator=generator).tolist() for limit in limits]


def slow(augmentation, pixels, seed):
    """One pixel at a time."""
    result = torch.empty(pixels.shape)
    channels, height, width = pixels.shape[1:]
    for b, (top, left, flip, row, column) in enumerate(zip(*draws(augmentation, pixels, seed), strict=True)):
        first_row, first_column = row - augmentation.cutout // 2, column - augmentation.cutout // 2
        for c in range(channels):
            for i in range(height):
                for j in range(width):
                    across = width - 1 - j if flip and augmentation.flip else j
                    y, x = i + top - augmentation.crop, across + left - augmentation.crop
                    inside = 0 <= y < height and 0 <= x < width
                    value = int(pixels[b, c, y, x]) if inside else 0
                    result[b, c, i, j] = (value / 255 - float(MEAN[c])) / float(STD[c])
                    in_rows = first_row <= i < first_row + augmentation.cutout
                    if in_rows and first_column <= j < first_column + augmentation.cutout:
                        result[b, c, i, j] = 0
    return result


@pytest.mark.parametrize(
    ("crop", "flip", "cutout"), [(0, False, 0), (2, False, 0), (0, True, 1), (2, True, 0), (0, False, 4), (2, True, 5)]
)
def test_batches_are_what_one_sample_at_a_time_gives(crop, flip, cutout):
    augmentation = Augmentation(crop, flip, cutout)
    pixels = images(batch=8)
    result = augmentation(pixels, 11, MEAN, STD)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, slow(augmentation, pixels, 11), rtol=1e-5, atol=1e-5)


def test_all_offsets_flips_and_centres_occur():
    top, left, flip, row, column = draws(Augmentation(crop=2), images(batch=2000), 0)
    assert set(top) == set(left) == set(range(5))
    assert set(row) == set(range(7))
    assert set(column) == set(range(9))
    assert 0.4 < sum(flip) / 2000 < 0.6
    assert abs(torch.corrcoef(torch.tensor([top, left]).double())[0, 1]) < 0.1


def test_the_seed_decides_and_the_global_state_does_not():
    pixels = images()
    torch.manual_seed(1)
    first = Augmentation(2, True, 3)(pixels, 5, MEAN, STD)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(first, Augmentation(2, True, 3)(pixels, 5, MEAN, STD))
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first, Augmentation(2, True, 3)(pixels, 6, MEAN, STD))


def test_cutout_leaves_crop_and_flip_as_they_were():
    pixels = images()
    plain = Augmentation(2, True, 0)(pixels, 5, MEAN, STD)
    cut = Augmentation(2, True, 4)(pixels, 5, MEAN, STD)
    changed = cut != plain
    assert changed.any()
    assert (cut[changed] == 0).all()


def test_a_cutout_square_in_the_middle_has_its_side():
    pixels = images(batch=3000, height=12, width=12)
    zero = (Augmentation(0, False, 4)(pixels, 0, torch.zeros(3), STD) == 0).all(1)
    areas = zero.flatten(1).sum(1)
    assert areas.max() == 16  # not clipped
    assert areas.min() == 4  # clipped at a corner: centre at the top left pixel


def test_normalised_pixels_follow_the_formula():
    pixels = images()
    expected = (pixels.double() / 255 - MEAN.double().view(3, 1, 1)) / STD.double().view(3, 1, 1)
    torch.testing.assert_close(normalise(pixels, MEAN, STD).double(), expected, rtol=1e-5, atol=1e-6)


def test_preparation_augments_only_when_told_to():
    pixels = images()
    batch = Batch(pixels, torch.arange(16), torch.tensor(9))
    prepare = Preparation(MEAN.tolist(), STD.tolist(), Augmentation(2))
    plain = prepare(batch)
    assert torch.equal(plain.images, normalise(pixels, MEAN, STD))
    assert torch.equal(prepare(batch, augment=True).images, Augmentation(2)(pixels, 9, MEAN, STD))
    assert torch.equal(plain.targets, batch.targets)
    assert torch.equal(batch.images, pixels)
    without = Preparation(MEAN.tolist(), STD.tolist(), None)
    assert torch.equal(without(batch, augment=True).images, plain.images)


def test_preparation_follows_the_default_precision():
    prepare = Preparation([0.5], [0.5], Augmentation(1))
    batch = Batch(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2), torch.tensor(0))
    assert prepare(batch).images.dtype == torch.float32
    torch.set_default_dtype(torch.float64)
    assert prepare(batch, augment=True).images.dtype == torch.float64


@pytest.mark.parametrize("field", ["crop", "cutout"])
def test_negative_sizes_are_refused(field):
    with pytest.raises(ValueError, match=f"Expected `{field}` to be at least 0, but got -1"):
        Augmentation(**{field: -1})


@pytest.mark.parametrize(("mean", "std"), [((0.1,), (0.1, 0.2)), ((0.1,), (0.0,))])
def test_impossible_normalisation_is_refused(mean, std):
    with pytest.raises(ValueError, match="Expected `mean` and `std`"):
        Preparation(mean, std, None)
