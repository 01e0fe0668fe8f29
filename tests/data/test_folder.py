"""Folders and tables become images, classes and parts; what does not fit is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pictures import write
from PIL import Image
from tables import check_each

from robustnas.data import ImageFolder, decoding


def test_each_folder_is_a_class(root):
    path, expected = root
    train, test = ImageFolder(path).load()
    assert test is None
    assert train.classes == ("cat", "dog")
    assert train.targets.tolist() == [0, 0, 1, 1]
    assert torch.equal(train.pixels, expected)


def test_train_and_test_folders_are_the_parts(tmp_path):
    write(tmp_path / "train/cat/a.png", 0)
    write(tmp_path / "train/dog/b.png", 1)
    expected = write(tmp_path / "test/dog/c.png", 2)
    train, test = ImageFolder(str(tmp_path)).load()
    assert len(train) == 2
    assert test.classes == train.classes == ("cat", "dog")
    assert test.targets.tolist() == [1]
    assert torch.equal(test.pixels[0], expected)


def test_a_class_called_train_is_a_class(tmp_path):
    for name in ("train/a.png", "wait/b.png"):
        write(tmp_path / name)
    assert ImageFolder(tmp_path).load()[0].classes == ("train", "wait")


def test_grey_images_and_another_size(tmp_path):
    write(tmp_path / "a/wide.png", 0, (8, 16))
    write(tmp_path / "b/tall.png", 1, (12, 6))
    images = ImageFolder(tmp_path, image_size=6, channels=1).load()[0]
    assert images.shape == (1, 6, 6)


def test_resizing_keeps_the_centre(tmp_path):
    picture = np.zeros((4, 12, 3), np.uint8)
    picture[:, 4:8] = 200
    (tmp_path / "a").mkdir()
    Image.fromarray(picture).save(tmp_path / "a/x.png")
    write(tmp_path / "b/y.png", 0, (4, 4))
    assert (ImageFolder(tmp_path, image_size=4).load()[0].pixels[0] == 200).all()


def test_photos_are_turned_as_their_camera_says(tmp_path):
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[0, 0] = 255
    turned = Image.Exif()
    turned[274] = 6  # orientation: a quarter to the right, which takes the top left corner to the top right
    for name in ("a/x.png", "b/y.png"):
        (tmp_path / name).parent.mkdir()
        Image.fromarray(picture).save(tmp_path / name, exif=turned)
    images = ImageFolder(tmp_path, channels=1).load()[0]
    assert images.shape == (1, 6, 4)
    assert images.pixels[0, 0].nonzero().tolist() == [[0, 3]]


def test_a_table_of_targets(root):
    path, expected = root
    table = path / "labels.csv"
    table.write_text("file,sunny,windy\ndog/c.bmp,1,0\ncat/a.png,0,1\n")
    images, test = ImageFolder(path, task="multilabel", labels=table).load()
    assert test is None
    assert images.classes == ("sunny", "windy")
    assert images.targets.tolist() == [[1, 0], [0, 1]]
    assert torch.equal(images.pixels, expected[[2, 0]])


def test_a_table_for_regression_and_classification(root):
    path, _ = root
    table = path / "labels.csv"
    table.write_text("file,age\ncat/a.png,3.5\ncat/b.PNG,-1e3\n")
    regression = ImageFolder(path, task="regression", labels=table).load()[0]
    assert regression.targets.tolist() == [[3.5], [-1000.0]]
    assert regression.classes == ("age",)
    table.write_text("file,kind\ncat/a.png,10\ncat/b.PNG,9\ndog/c.bmp,10\n")
    classification = ImageFolder(path, labels=str(table)).load()[0]
    assert classification.classes == ("9", "10")
    assert classification.targets.tolist() == [1, 0, 1]


def test_spaces_beside_the_commas_do_not_count(root):
    path, _ = root
    (path / "labels.csv").write_text("file, kind\ncat/a.png , x\n cat/b.PNG,y \ndog/c.bmp,x\n")
    images = ImageFolder(path, labels=path / "labels.csv").load()[0]
    assert (images.classes, images.targets.tolist()) == (("x", "y"), [0, 1, 0])


def test_bad_tables_are_named(root):
    rows = [
        ("", "a header 'file,target.*at least one row"),
        ("file,age\n", "at least one row"),
        ("file\ncat/a.png\n", "a header"),
        ("file,age\ncat/a.png\n", r"2 fields in line 2, .*but got 1: \['cat/a.png'\]"),
        ("file,age\ncat/a.png,old\n", "column 'age' of .* to hold numbers, but got 'old' in row 0"),
        ("file;age\ncat/a.png;60,5\n", r"got '60,5' \(a decimal comma; write 60.5\) in row 0"),
        ("file,age\ncat/a.png,5%\n", r"got '5%' \(a percent sign; write 5\) in row 0"),
        ("file,age\ncat/a.png,1_0\n", "to hold numbers, but got '1_0' in row 0"),
        ("file,age\ncat/a.png,1\ncat/a.png,2\n", "to give each file one target, but got 1 and 2 for 'cat/a.png'"),
        ("file,age\ncat/nothing.png,3\n", "below `root`, .*, but 1 of 1 are none: 'cat/nothing.png'"),
        ("file,age\ncat/a.png,nan\n", "finite"),
    ]

    def check(row):
        text, message = row
        path, _ = root
        (path / "labels.csv").write_text(text)
        with pytest.raises(ValueError, match=message):
            ImageFolder(path, task="regression", labels=path / "labels.csv").load()

    check_each(rows, check)


def test_a_corrupt_image_is_named(root):
    path, _ = root
    content = (path / "cat/b.PNG").read_bytes()
    (path / "cat/b.PNG").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"each of 4 images .* but got 1 that is not: '.*cat/b.PNG' \(.*trunc"):
        ImageFolder(path).load()
    (path / "cat/b.PNG").write_text("no image")
    with pytest.raises(
        ValueError, match=r"got 1 that is not: '.*cat/b.PNG' \(not an image in a supported format\); `sk"
    ):
        ImageFolder(path).load()


def test_images_of_several_sizes_are_named(root):
    path, _ = root
    write(path / "dog/big.png", 0, (9, 9))
    with pytest.raises(ValueError, match=r"got 4x5 for '.*a.png' and 9x9 for '.*big.png'; set `image_size`"):
        ImageFolder(path).load()


def test_bad_folders_are_named(tmp_path, root):
    path, _ = root
    with pytest.raises(ValueError, match=r"Expected `root` to be a folder, but got '.*nowhere'"):
        ImageFolder(tmp_path / "nowhere").load()
    (tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match="to hold a folder of images for each class, but got none"):
        ImageFolder(tmp_path / "bare").load()
    (path / "eel").mkdir()
    with pytest.raises(ValueError, match="but got no image in 'eel'"):
        ImageFolder(path).load()


def test_a_test_class_that_is_not_trained_is_named(tmp_path):
    for name in ("train/cat/a.png", "train/dog/b.png", "test/eel/c.png"):
        write(tmp_path / name)
    with pytest.raises(
        ValueError, match=r"folders in .*test' to be classes of the training part, cat, dog, but got 'eel'"
    ):
        ImageFolder(tmp_path).load()


def test_impossible_options_are_refused_at_once():
    rows = [
        ({"channels": 2}, "Expected `channels` to be 1 .* but got 2"),
        ({"image_size": 0}, "Expected `image_size` to be at least 1 or None, but got 0"),
        ({"task": "regression"}, "Expected `labels` to be a CSV file of targets for regression, but got None"),
    ]

    def check(row):
        options, message = row
        with pytest.raises(ValueError, match=message):
            ImageFolder("anywhere", **options)

    check_each(rows, check)


def test_many_images_are_decoded_in_order(tmp_path):
    expected = [write(tmp_path / f"{'ab'[i % 2]}/{i:04}.png", i, (2, 2)) for i in range(decoding.CHUNK + 30)]
    images = ImageFolder(tmp_path).load()[0]
    assert torch.equal(images.pixels, torch.stack(expected[::2] + expected[1::2]))


def test_decoding_many_images_shows_progress(root, monkeypatch, capsys):
    monkeypatch.setattr(decoding, "PROGRESS_FROM", 1)
    ImageFolder(root[0]).load()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Decoding 4 images" in captured.err
