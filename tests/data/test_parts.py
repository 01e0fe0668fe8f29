"""Folders of parts are recognised, skipped files are counted, and each part becomes its role."""

from __future__ import annotations

import pytest
import torch
from pictures import write
from tables import check_each

from robustnas.data import ImageFolder
from robustnas.data.remarks import remarks
from robustnas.data.roles import SplitImages


def fill(root, *folders, each=2):
    """Different pictures in each folder; returns how many there are."""
    for i, folder in enumerate(folders):
        for j in range(each):
            write(root / folder / f"{j}.png", 100 * i + j)
    return each * len(folders)


@pytest.mark.parametrize(
    ("train", "other", "role"),
    [
        ("train", "Test", "test"),
        ("Train", "testing", "test"),
        ("TRAINING", "VALID", "selection"),
        ("trains", "vals", "selection"),
    ],
)
def test_parts_are_known_by_their_usual_names(tmp_path, train, other, role):
    fill(tmp_path, f"{train}/a", f"{train}/b", f"{other}/b", each=6)
    data = ImageFolder(tmp_path)
    assert data.classes == ("a", "b")
    assert data.role(role).targets.tolist() == [1] * 6
    assert data.split.given == {role: 6}


def test_a_validation_part_is_the_role_selection(tmp_path):
    fill(tmp_path, "train/a", "train/b", each=10)
    fill(tmp_path / "validation", "a", "b", each=3)
    data = ImageFolder(tmp_path, fractions=(0.3, 0.6, 0.1), test_fraction=0.1)
    sizes = {role: len(indices) for role, indices in data.split.indices.items()}
    assert sizes == {"weights": 6, "arch": 12, "selection": 6, "test": 2}
    whole = torch.cat(list(data.split.indices.values())).sort().values
    assert whole.tolist() == list(range(26))
    expected = ImageFolder(tmp_path / "validation").load()[0]
    assert torch.equal(data.role("selection").pixels, expected.pixels)
    assert data.describe()["given_roles"] == ["selection"]


def test_a_validation_part_leaves_the_test_role_as_it_was(tmp_path):
    fill(tmp_path / "with", "train/a", "train/b", "val/a", "val/b", each=10)
    fill(tmp_path / "without", "train/a", "train/b", each=10)
    tests = [ImageFolder(tmp_path / name).split.indices["test"].tolist() for name in ("with", "without")]
    assert tests[0] == tests[1]


def test_folders_that_are_no_parts_are_refused_by_name(tmp_path_factory):
    rows = [
        (
            ["Train/a", "Train/b", "holdout/a"],
            "parts called train, val and test, .* 'Train' .* images in 'holdout' too",
        ),
        (["train/a", "Train/b"], "one folder of each part in .* 'Train' and 'train' for train"),
        (["train/a", "train/b", "val/a", "valid/a"], "'val' and 'valid' for val"),
        (["val/a", "test/a"], "a folder train that holds them, but got 'test', 'val', named like the parts"),
        (["train", "test"], "a folder for each class, .* but got 'test', 'train', named like the parts"),
        (["train/a", "train/b", "val/c"], "classes of the training part, a, b, but got 'c' too"),
    ]

    def check(row):
        folders, message = row
        tmp_path = tmp_path_factory.mktemp("row")
        fill(tmp_path, *folders)
        with pytest.raises(ValueError, match=message):
            ImageFolder(tmp_path).load()

    check_each(rows, check)


def test_parts_of_other_sizes_are_refused(tmp_path):
    fill(tmp_path, "train/a", "train/b")
    write(tmp_path / "val/a/x.png", 0, (9, 9))
    with pytest.raises(ValueError, match="the validation part to have the shape of the training part"):
        ImageFolder(tmp_path).load()


def test_a_folder_without_images_beside_parts_is_left_out(tmp_path):
    fill(tmp_path, "train/a", "train/b")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/x.xml").write_text("<a/>")
    write(tmp_path / "stray.png")
    expected = {"outside_classes": 1, "folders_without_images": ["annotations"]}
    assert ImageFolder(tmp_path).load()[0].reading == expected


def test_links_to_folders_are_said_not_followed(tmp_path):
    fill(tmp_path / "root", "a", "b")
    fill(tmp_path, "elsewhere", each=3)
    (tmp_path / "root/a/more").symlink_to(tmp_path / "elsewhere")
    images = ImageFolder(tmp_path / "root").load()[0]
    assert (len(images), images.reading) == (4, {"linked_folders": ["a/more"]})
    said = remarks(SplitImages(images, None, (0.5, 0.5, 0.0), 0.0, seed=0))
    assert "behind links to folders in the folder of a class ('a/more')" in said[0]


def test_many_kinds_of_endings_are_summed(tmp_path):
    fill(tmp_path, "a", "b")
    for i in range(30):
        (tmp_path / f"a/x.{i:03}").write_text("")
    endings = ImageFolder(tmp_path).load()[0].reading["other_endings"]
    assert len(endings) == 11
    assert endings["others"] == 20


def test_what_is_hidden_is_left_out_at_every_depth(tmp_path):
    fill(tmp_path, "a", "a/deep", "b")
    fill(tmp_path, "a/.ipynb_checkpoints", "b/deep/.x/y", ".trash/c")
    write(tmp_path / "b/._0.png")
    write(tmp_path / "stray.png")
    write(tmp_path / "._stray.png")
    (tmp_path / "b/Thumbs.db").write_text("")
    (tmp_path / "b/.DS_Store").write_text("")
    (tmp_path / "a/lost.png").symlink_to(tmp_path / "nowhere.png")
    images = ImageFolder(tmp_path).load()[0]
    assert images.classes == ("a", "b")
    assert len(images) == 6
    assert images.reading == {"hidden": 8, "other_endings": {".db": 1}, "outside_classes": 1, "broken_links": 1}


def test_a_root_that_is_hidden_itself_is_read(tmp_path):
    count = fill(tmp_path / ".data", "a", "b")
    assert len(ImageFolder(tmp_path / ".data").load()[0]) == count


def test_a_table_names_files_in_every_way(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "data", "a", "b")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    names = [tmp_path / "data/a/0.png", "a\\1.png", "b/../b/0.png", tmp_path / "link/b/1.png"]
    (tmp_path / "t.csv").write_text("file,x\n" + "".join(f"{name},{i}\n" for i, name in enumerate(names)))
    images = ImageFolder("data", task="regression", labels="t.csv").load()[0]
    by_folder = ImageFolder("data").load()[0]
    assert torch.equal(images.pixels, by_folder.pixels)
    assert images.reading == {}


def test_files_elsewhere_are_refused_by_name(tmp_path):
    fill(tmp_path, "data/a", "other/b")
    (tmp_path / "t.csv").write_text("file,x\n../other/b/0.png,1\n")
    with pytest.raises(ValueError, match=r"`labels` to name files below `root`, .*, but got '\.\./other/b/0.png'"):
        ImageFolder(tmp_path / "data", task="regression", labels=tmp_path / "t.csv").load()


def test_a_first_row_that_names_a_file_is_no_header(tmp_path):
    fill(tmp_path, "a", "b")
    (tmp_path / "t.csv").write_text("a/0.png,0.609\na/1.png,-0.885\nb/0.png,0.51\n")
    with pytest.raises(ValueError, match=r"to be a header 'file,target.*, but it names the file 'a/0.png'"):
        ImageFolder(tmp_path, task="regression", labels=tmp_path / "t.csv").load()
    (tmp_path / "t.csv").write_text("file,x\na/0.png,0.609\n")
    (tmp_path / "file").write_text("")
    assert len(ImageFolder(tmp_path, task="regression", labels=tmp_path / "t.csv").load()[0]) == 1


def test_missing_files_are_counted_and_images_without_target_too(tmp_path):
    fill(tmp_path, "a", "b")
    (tmp_path / "t.csv").write_text("file,x\na/0.png,1\na/7.png,2\nb/8.png,3\n")
    with pytest.raises(ValueError, match=r"but 2 of 3 are none: 'a/7.png', 'b/8.png'"):
        ImageFolder(tmp_path, task="regression", labels=tmp_path / "t.csv").load()
    (tmp_path / "t.csv").write_text("file,x\na/0.png,1\n")
    images = ImageFolder(tmp_path, task="regression", labels=tmp_path / "t.csv").load()[0]
    assert images.reading == {"not_in_labels": 3}
