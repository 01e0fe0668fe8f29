"""Decoded images are read from the cache exactly as long as files and options are unchanged, and never as code."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from pictures import write

from robustnas.data import ImageFolder, Images, cache, decoding, folder


def no_decoding(monkeypatch):
    def refuse(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr(folder, "decode", refuse)


def test_the_second_load_comes_from_the_cache(root, monkeypatch):
    path, expected = root
    first = ImageFolder(path).load()[0]
    assert len(list((path / ".robustnas").iterdir())) == 1
    no_decoding(monkeypatch)
    second = ImageFolder(path).load()[0]
    assert torch.equal(second.pixels, expected)
    assert (second.targets.tolist(), second.classes, second.task) == (first.targets.tolist(), first.classes, first.task)


@pytest.mark.parametrize("change", ["touch", "rename", "add", "remove", "replace", "move"])
def test_the_cache_is_left_when_the_files_change(root, change):
    path, _ = root
    before = ImageFolder(path).load()[0]
    if change == "touch":
        os.utime(path / "cat/a.png", ns=(1, 1))
    elif change == "rename":
        (path / "cat/a.png").rename(path / "cat/z.png")
    elif change == "add":
        write(path / "dog/z.png", 9)
    elif change == "remove":
        (path / "cat/a.png").unlink()
    elif change == "move":
        (path / "cat/a.png").rename(path / "dog/a.png")
    else:
        write(path / "cat/a.png", 10)
    decoded = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "decode", lambda *args: decoded.append(1) or decoding.decode(*args))
        after = ImageFolder(path).load()[0]
        assert decoded == [1]
        ImageFolder(path).load()
    assert decoded == [1]
    assert len(list((path / ".robustnas").iterdir())) == 1
    same = change in {"touch"}
    assert (before.content_hash() == after.content_hash()) == same


def test_other_options_do_not_share_a_cache(root):
    path, expected = root
    ImageFolder(path).load()
    assert ImageFolder(path, channels=1).load()[0].shape == (1, 4, 5)
    assert ImageFolder(path, image_size=3).load()[0].shape == (3, 3, 3)
    assert torch.equal(ImageFolder(path).load()[0].pixels, expected)


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "other"])
def test_a_damaged_cache_is_built_again(root, damage):
    path, expected = root
    ImageFolder(path).load()
    (file,) = (path / ".robustnas").iterdir()
    content = file.read_bytes()
    middle = content.index(expected[1].contiguous().numpy().tobytes()) if damage == "flipped" else 0
    file.write_bytes(
        {
            "empty": b"",
            "cut": content[: len(content) // 2],
            "flipped": content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
            "other": b"not a zip file at all",
        }[damage]
    )
    assert torch.equal(ImageFolder(path).load()[0].pixels, expected)
    assert file.read_bytes() != b""
    with np.load(file) as stored:
        assert (torch.from_numpy(stored["pixels"]) == expected).all()


def test_a_cache_never_runs_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    images = Images(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1]), "classification", ("a", "b"))
    cache.cached_images(tmp_path, "x", "mark", lambda: images)
    (file,) = tmp_path.iterdir()
    np.savez(file, mark=np.array("mark"), pixels=np.array([Trap()], dtype=object), allow_pickle=True)
    assert cache.cached_images(tmp_path, "x", "mark", lambda: images) is images
    assert not (tmp_path / "sprung").exists()


def test_the_cache_moves_with_the_folder(root, tmp_path, monkeypatch):
    path, expected = root
    ImageFolder(path).load()
    path.rename(tmp_path / "moved")
    no_decoding(monkeypatch)
    assert torch.equal(ImageFolder(tmp_path / "moved").load()[0].pixels, expected)


def test_a_cache_folder_of_choice(root, tmp_path):
    path, _ = root
    ImageFolder(path, cache_dir=str(tmp_path / "elsewhere")).load()
    assert not (path / ".robustnas").exists()
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


def test_an_unwritable_cache_costs_a_warning(root, tmp_path):
    path, expected = root
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="Decoded images are not cached"):
        images = ImageFolder(path, cache_dir=tmp_path / "file").load()[0]
    assert torch.equal(images.pixels, expected)


def test_an_interrupted_write_leaves_nothing(root, monkeypatch):
    path, _ = root

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ImageFolder(path).load()
    assert list((path / ".robustnas").iterdir()) == []


def test_new_targets_leave_the_cache(root):
    path, _ = root
    table = path / "labels.csv"
    for value in (1.0, 2.0):
        table.write_text(f"file,age\ncat/a.png,{value}\n")
        assert ImageFolder(path, task="regression", labels=table).load()[0].targets.tolist() == [[value]]
