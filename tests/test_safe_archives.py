"""Arrays and checkpoints that expand to more than their size, or declare wrong sizes, are refused unread."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tables import check_each

from robustnas.runtime import safe_files
from robustnas.runtime.safe_files import load_checkpoint, read_arrays


def npy(shape: tuple[int, ...], data: bytes, kind: str = "<f8") -> bytes:
    """An npy file with any shape in its header."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue() + data


def archive(*members: bytes, packed: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packed) as written:
        for number, content in enumerate(members):
            written.writestr(f"a{number}.npy", content)
    return file.getvalue()


def lying(content: bytes, says: int) -> bytes:
    """An archive whose list of members says another size than is packed."""
    data = bytearray(archive(content))
    place = data.index(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", says)
    return bytes(data)


ARRAYS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a shape of terabytes": (lambda: archive(npy((10**12,), b"")), "but has 0"),
    "a shape that overflows": (lambda: archive(npy((2**33, 2**33), b"")), "but has 0"),
    "many empty rows": (lambda: archive(npy((10**12, 0), b"")), "of the shape [1000000000000, 0]"),
    "objects": (lambda: archive(npy((1,), b"\0" * 8, "|O")), "not of numbers or texts"),
    "texts of no length": (lambda: archive(npy((10**12,), b"", "<U0")), "not of numbers or texts"),
    "large together": (
        lambda: archive(*[npy((100, 2**20), bytes(100 * 2**20), "|u1")] * 3), "an archive of more than 268,435,456 byt"
    ),
    "a size that is too small": (lambda: lying(npy((100,), bytes(800)), 10), "Bad CRC-32"),
    "another compression": (lambda: archive(npy((1,), bytes(8)), packed=zipfile.ZIP_BZIP2), "a compression that"),
    "very many": (lambda: b"PK\x01\x02" * 30_001, "more than 30,000 arrays"),
}  # fmt: skip


def test_arrays_that_lie_are_refused() -> None:
    def check(case: str) -> None:
        make, says = ARRAYS[case]
        with pytest.raises((ValueError, EOFError, zipfile.BadZipFile)) as caught:
            read_arrays(make())
        assert says in str(caught.value)

    check_each(ARRAYS, check)


def test_no_more_is_unpacked_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_files, "MAX_BYTES", 1000)
    given = zlib.decompressobj
    longest = []

    class Watched:
        def __init__(self, *arguments: Any) -> None:
            self._inner = given(*arguments)

        def decompress(self, data: bytes, *most: int) -> bytes:
            found = self._inner.decompress(data, *most)
            longest.append(len(found))
            return found

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    with pytest.raises(ValueError, match="an archive of more than 1,000 bytes once unpacked"):
        read_arrays(lying(bytes(2**24), 2**31))
    assert sum(longest) < 2**14  # of 16 MiB that are packed


def test_arrays_come_back(tmp_path: Path) -> None:
    given = {
        "a": np.arange(6.0).reshape(2, 3),
        "b": np.asfortranarray(np.arange(6).reshape(3, 2)),
        "c": np.array(["x"]),
    }
    np.savez_compressed(tmp_path / "a.npz", **given)
    found = read_arrays((tmp_path / "a.npz").read_bytes())
    assert list(found) == list(given)
    for name, array in given.items():
        np.testing.assert_array_equal(found[name], array)
    found["a"][0, 0] = 7  # its own memory


def packed(path: Path) -> None:
    torch.save({"a": torch.zeros(2**20)}, path)
    with zipfile.ZipFile(path) as read:
        members = {member: read.read(member) for member in read.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in members.items():
            written.writestr(name, content)


def sized(path: Path) -> None:
    torch.save({"a": torch.zeros(4)}, path)
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02")
    data[place + 20 : place + 28] = struct.pack("<II", 2**31, 2**31)
    path.write_bytes(data)


def doubled(depth: int) -> list[Any]:
    value: list[Any] = [1]
    for _ in range(depth):
        value = [value, value]
    return value


CHECKPOINTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "packed": (packed, "a compressed archive, which torch.save does not write"),
    "larger than it is": (sized, "an archive that declares more bytes than it has"),
    "one number for many": (
        lambda path: torch.save({"a": torch.zeros(1).expand(10**12)}, path), "a tensor of the shape [1000000000000]"
    ),
    "sparse": (
        lambda path: torch.save(torch.sparse_coo_tensor([[0]], [1.0], (10**12,)), path), "a tensor that is sparse or"
    ),
    "meta": (lambda path: torch.save(torch.zeros(10**12, device="meta"), path), "a tensor that is sparse or"),
    "lists of lists": (lambda path: torch.save(doubled(40), path), "more than 10,000,000 values, shared ones"),
}  # fmt: skip


def test_checkpoints_that_lie_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    def check(case: str) -> None:
        tmp_path = tmp_path_factory.mktemp("row")
        make, says = CHECKPOINTS[case]
        make(tmp_path / "a.ckpt")
        with pytest.raises(ValueError, match=re.escape(says)):
            load_checkpoint(tmp_path / "a.ckpt")

    check_each(CHECKPOINTS, check)


def test_a_checkpoint_of_nothing_but_size_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    with path.open("wb") as file:
        file.truncate(2**40)  # takes no place on disk
    with pytest.raises(ValueError, match=r"to have at most 34,359,738,368 bytes, but got 1,099,511,627,776"):
        load_checkpoint(path)


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    given = {"a": torch.arange(6.0).view(2, 3).T, "b": [1, {"c": (None, "x")}], "d": torch.zeros(0)}
    torch.save(given, tmp_path / "a.ckpt")
    found = load_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(found["a"], given["a"])  # type: ignore[arg-type]
    assert found["b"] == given["b"]
