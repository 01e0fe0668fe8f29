"""Images of every mode and format are decoded correctly; unreadable ones are listed with the reason."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from robustnas.data import ImageFolder
from robustnas.data.decoding import Decoding, Encoded, decode
from robustnas.data.targets import encode_targets

SHAPE = np.zeros((4, 4), np.uint8)
SHAPE[1:3, 1:3] = 255
LEVELS = np.array([[0, 255, 256], [1000, 40000, 65535]], np.uint16)


def encoded(image, kind="PNG", **options):
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def read(*contents, **how):
    images = [Encoded(f"image {i}", content) for i, content in enumerate(contents)]
    targets = encode_targets({"x": [float(i) for i in range(len(images))]}, "regression", "here")
    return decode(images, targets, "regression", Decoding(**how))


def test_transparent_pixels_get_the_background():
    black = Image.fromarray(np.zeros((4, 4, 3), np.uint8))
    black.putalpha(Image.fromarray(SHAPE))
    images = read(encoded(black), channels=1)
    assert images.pixels[0, 0].tolist() == (255 - SHAPE).tolist()
    assert images.reading == {"composited": 1}
    white = Image.fromarray(np.full((4, 4, 3), 255, np.uint8))
    white.putalpha(Image.fromarray(SHAPE))
    assert (read(encoded(white)).pixels == 255).all()
    assert (read(encoded(white), background=0).pixels[0] == read(encoded(white), background=0).pixels[0, :1]).all()
    assert read(encoded(white), background=0).pixels[0, 0].tolist() == SHAPE.tolist()


def test_half_a_transparency_is_mixed():
    half = Image.new("RGBA", (1, 1), (200, 100, 0, 128))
    expected = [round((128 * level + 127 * 255) / 255) for level in (200, 100, 0)]
    assert read(encoded(half)).pixels.flatten().tolist() == expected


def test_opaque_alpha_changes_nothing_and_is_not_counted():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    opaque = Image.fromarray(pixels)
    opaque.putalpha(255)
    images = read(encoded(opaque))
    assert images.pixels[0].permute(1, 2, 0).tolist() == pixels.tolist()
    assert images.reading == {}


@pytest.mark.parametrize("mode", ["LA", "P", "L"])
def test_transparency_of_every_mode_is_seen(mode):
    grey = Image.fromarray(np.zeros((4, 4), np.uint8))
    options = {}
    if mode == "LA":
        grey = Image.merge("LA", (grey, Image.fromarray(SHAPE)))
    else:
        grey = Image.fromarray((SHAPE > 0).astype(np.uint8), mode)
        if mode == "P":
            grey.putpalette([9, 9, 9, 0, 0, 0])
        options = {"transparency": 0}
    expected = {"LA": 0, "P": 0, "L": 1}[mode]
    pixels = read(encoded(grey, **options), channels=1).pixels[0, 0]
    assert pixels.tolist() == np.where(SHAPE > 0, expected, 255).tolist()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_read_alike_from_every_format(kind):
    if kind == "PPM":
        content = b"P5\n3 2\n65535\n" + LEVELS.astype(">u2").tobytes()
    else:
        content = encoded(Image.fromarray(LEVELS), kind)
    assert read(content, channels=1).pixels[0, 0].tolist() == [[0, 0, 1], [3, 156, 255]]


def test_floats_have_no_eight_bits():
    with pytest.raises(ValueError, match=r"image 0 .an image of mode 'F', which has no 8-bit form"):
        read(encoded(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF"))


def test_other_modes_become_grey_or_colour():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    colour = Image.fromarray(pixels)
    assert read(encoded(Image.fromarray(SHAPE > 0)), channels=1).pixels[0, 0].tolist() == SHAPE.tolist()
    assert read(encoded(Image.fromarray(SHAPE))).pixels[0].tolist() == [SHAPE.tolist()] * 3
    cyan = read(encoded(Image.new("CMYK", (2, 2), (255, 0, 0, 0)), "TIFF")).pixels[0]
    assert cyan[:, 0, 0].tolist() == [0, 255, 255]
    assert read(encoded(colour.quantize(256))).pixels.shape == (1, 3, 4, 6)


def test_a_huge_image_is_noted_by_name_instead_of_a_warning_of_pillow(monkeypatch, recwarn):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)  # of 64; above twice the limit Pillow refuses
    images = read(encoded(Image.new("RGB", (8, 8))), encoded(Image.new("RGB", (4, 4))), image_size=4)
    assert images.reading == {"huge": ["image 0"]}
    assert not recwarn.list


def test_the_first_frame_of_several_is_read_and_counted():
    frames = [Image.fromarray(np.full((3, 3), level, np.uint8)) for level in (0, 100, 200)]
    several = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    images = read(several, encoded(frames[1], "GIF"), channels=1)
    assert images.pixels[:, 0, 0, 0].tolist() == [0, 100]
    assert images.reading == {"first_frame": 1}


def broken():
    good = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)))
    return good, [good[: len(good) // 2], b"", b"no image", good[:20]]


def test_every_unreadable_image_is_listed_at_once():
    good, bad = broken()
    with pytest.raises(ValueError, match="Expected each of 6 images to be readable, but got 4 that are not") as caught:
        read(good, *bad, good)
    said = str(caught.value)
    assert all(f"image {i} (" in said for i in range(1, 5))
    assert "image 2 (an empty file)" in said
    assert "image 3 (not an image in a supported format)" in said
    assert said.endswith("`skip_unreadable: true` leaves such images out.")
    assert "0x" not in said


def test_the_list_of_unreadable_images_is_bounded():
    with pytest.raises(ValueError, match=r"got 25 that are not: .*image 9 \([^)]*\), and 15 more") as caught:
        read(*[b"x"] * 25)
    assert "image 10 " not in str(caught.value)
    assert "skip_unreadable" not in str(caught.value)


def test_unreadable_images_are_skipped_with_their_targets():
    good, bad = broken()
    images = read(good, *bad, good, skip_unreadable=True)
    assert images.targets.flatten().tolist() == [0, 5]
    assert len(images.reading["unreadable"]) == 4
    assert images.reading["unreadable"][1] == "image 2 (an empty file)"
    with pytest.raises(ValueError, match="got 2 that are not"):
        read(*bad[:2], skip_unreadable=True)


def test_what_was_skipped_is_known_from_the_cache_too(root):
    path, _ = root
    (path / "cat/b.PNG").write_bytes(b"")
    first = ImageFolder(path, skip_unreadable=True).load()[0]
    second = ImageFolder(path, skip_unreadable=True).load()[0]
    assert first.reading["unreadable"] == second.reading["unreadable"] == [f"'{path}/cat/b.PNG' (an empty file)"]
    assert second.targets.tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match="got 1 that is not"):
        ImageFolder(path).load()


def test_an_impossible_background_is_refused():
    with pytest.raises(ValueError, match="Expected `background` to be a grey level from 0 to 255, but got 256"):
        Decoding(background=256)
