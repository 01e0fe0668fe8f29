"""Files that expand to more than their size, or declare wrong sizes, are refused while they are read."""

from __future__ import annotations

import io
import json
import re
import struct
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from refusals import said

from robustnas.cli.configuration import configuration
from robustnas.runtime import safe_files
from robustnas.runtime.safe_files import check_numbers, load_checkpoint, parse_json, read_arrays, read_bytes
from robustnas.runtime.safe_yaml import MAX_VALUES, read_yaml


def merges(depth: int, each: int = 9) -> str:
    """Merge keys of merge keys: what they copy grows ninefold with each line."""
    lines = ["a0: &a0 {x: 1, y: 2}"]
    lines += [f"a{k}: &a{k} {{<<: [{', '.join([f'*a{k - 1}'] * each)}]}}" for k in range(1, depth)]
    return "\n".join(lines)


TOO_MANY = f"more than {MAX_VALUES:,} values"
REFUSED: dict[str, tuple[str, str]] = {
    "merge keys of merge keys": (merges(12), TOO_MANY),
    "aliases of aliases": (merges(12).replace("<<", "z"), TOO_MANY),
    "a flat list of 4 MB": ("[" + "1," * (2**21 - 1) + "]", TOO_MANY),
    "more than 4 MB": ("a: " + "x" * 2**22, "to have at most 4,194,304 bytes, but got"),
    "lists in lists": ("[" * 1000 + "]" * 1000, "it nests too deeply"),
    "mappings in mappings": ("{a: " * 1000, "it nests too deeply"),
    "itself": ("a: &a [*a]", "it nests too deeply or contains itself"),
    "a name twice": (
        "a: 1\nb:\n  c: 1\n  c: 2\n",
        "the key 'c' is repeated in one mapping, in line 4",
    ),
    "one name in two spellings": ("yes: 1\ntrue: 2\n", "the key True is repeated"),
    "two merges": ("a: &a {x: 1}\nb: {<<: *a, <<: *a}\n", "the key '<<' is repeated"),
    "a list for a name": ("? [1]\n: 2\n", "a key in line 1 that is a list or a mapping"),
    "4,400 digits": ("a: " + "9" * 4400, "a number of 4,400 characters in line 1"),
    "base 16": ("a: 0x" + "f" * 200, "a number of more than 64 bits in line 1"),
    "infinity": ("model:\n  lr: .inf\n", "Expected `model.lr` to be a finite number, but got inf in "),
    "an overflow": ("a: [1, 1.0e+999]", "Expected `a[1]` to be a finite number, but got inf in "),
    "not a number": ("a: .NaN", "Expected `a` to be a finite number, but got nan in "),
    "an object": ("a: !!python/object:os.system {}", "the tag tag:yaml.org,2002:python/object:os.system in line 1"),
    "bytes": ("a: !!binary aGk=", "the tag tag:yaml.org,2002:binary in line 1, which is not plain data"),
    "half a character": ('a: "\\ud800"', "invalid Unicode character"),
    "two documents": ("a: 1\n---\nb: 1\n", "expected a single document"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_yaml_is_refused_in_a_sentence(case: str, tmp_path: Path) -> None:
    text, says = REFUSED[case]
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"^Expected ") as caught:
        read_yaml(path)
    assert says in str(caught.value)
    assert len(str(caught.value)) < 400


def test_yaml_that_is_right_is_read(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    text = "base: &b {x: 1, l: 1e-3}\none: {<<: *b, x: 2}\ntwo: &t {<<: *b, y: é}\nthree: {<<: [*t, *b]}\n"
    text += "date: 2001-01-01\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode().replace(b"\n", b"\r\n"))
    base = {"x": 1, "l": 1e-3}
    assert read_yaml(path) == {
        "base": base, "one": {**base, "x": 2}, "two": {**base, "y": "é"}, "three": {**base, "y": "é"},
        "date": "2001-01-01",
    }  # fmt: skip


INCLUDED: dict[str, tuple[list[str], str]] = {
    "data": (["--model=DARTS", "--data=bad.yaml"], "Expected {} to be a configuration in YAML, but reading "),
    "a model": (
        ["--model=bad.yaml", "--data=Digits"],
        "Expected {} to be a configuration in YAML, but reading ",
    ),
    "the trainer": (
        ["--model=DARTS", "--data=Digits", "--trainer=bad.yaml"],
        "Expected {} to be a configuration in YAM",
    ),
    "in a configuration": (["-c", "outer.yaml"], "Expected {} to be a configuration in YAML, but reading "),
    "a configuration in another": (["-c", "inner.yaml"], "Expected {} to be a configuration in YAML, but reading it "),
    "a text for a number": (
        ["--model=DARTS", "--data=Digits", f"--model.lr={merges(12)}"],
        "Expected `lr` to be float",
    ),
    "a text for a part": (["--model=DARTS", "--data=Digits", f"--model.penalty={merges(12)}"], "Expected `penalty` to"),
}


@pytest.mark.parametrize(
    ("case", "content"),
    [*((case, merges(12)) for case in INCLUDED), ("data", "a: 1\na: 2\n"), ("in a configuration", "a: 1\na: 2\n")],
    ids=[*INCLUDED, "data, twice", "in a configuration, twice"],
)
def test_whatever_the_parser_reads_is_checked(
    case: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text(content, encoding="utf-8")
    Path("outer.yaml").write_text("model: DARTS\ndata: bad.yaml\n", encoding="utf-8")
    Path("inner.yaml").write_text("config: bad.yaml\nmodel: DARTS\ndata: Digits\n", encoding="utf-8")
    start = time.process_time()
    words, says = INCLUDED[case]
    sentence = said(["fit", *words], capsys, statuses=(2,))
    assert sentence.startswith(says.format(tmp_path / "bad.yaml")), sentence
    assert time.process_time() - start < 60  # unchecked, such a text takes all memory before it ends


def test_a_byte_order_mark_is_harmless_in_what_a_configuration_names(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_bytes(b"\xef\xbb\xbfclass_path: Digits\ninit_args: {batch_size: 17}\n")
    (tmp_path / "all.yaml").write_bytes(f"\ufeffmodel: DARTS\ndata: {tmp_path}/data.yaml\n".encode())
    assert configuration(["-c", str(tmp_path / "all.yaml")])["data"]["init_args"]["batch_size"] == 17


def test_a_device_is_not_read_for_ever() -> None:
    with pytest.raises(ValueError, match=r"Expected /dev/zero to have at most 1,000 bytes, but got more\."):
        read_bytes(Path("/dev/zero"), 1000)


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


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_lie_are_refused(case: str) -> None:
    make, says = ARRAYS[case]
    with pytest.raises((ValueError, EOFError, zipfile.BadZipFile)) as caught:
        read_arrays(make())
    assert says in str(caught.value)


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


JSON: dict[str, tuple[str, str]] = {
    "infinity": ('{"a": Infinity}', "Infinity, which JSON does not allow"),
    "not a number": ("[NaN]", "NaN, which JSON does not allow"),
    "an overflow": ("[1e999]", "a number that is too large: 1e999"),
    "4,400 digits": ("[" + "1" * 4400 + "]", "a number of 4,400 digits"),
    "deeper than the stack": ("[" * 100_000, "JSON that nests too deeply"),
    "deep": ("[" * 200 + "]" * 200, "JSON that nests too deeply"),
    "deep mappings": ('{"a":' * 200 + "1" + "}" * 200, "JSON that nests too deeply"),
    "long": ("[" + "1," * 2**23, "JSON of more than 16,777,216 bytes"),
    "empty": (" ", "an empty file"),
    "truncated": ('{"a"', "a truncated file: "),
}


@pytest.mark.parametrize("case", JSON)
def test_json_is_refused(case: str) -> None:
    text, says = JSON[case]
    with pytest.raises(ValueError, match=re.escape(says)):
        parse_json(text)


def test_json_that_is_right_is_read() -> None:
    given = {"a": [1, 2.5, None, True, "\udcff"], "b": {"c": -(2**63)}}
    assert parse_json(json.dumps(given)) == given
    assert parse_json(b"\xef\xbb\xbf[1]") == [1]


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


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_checkpoints_that_lie_are_refused(case: str, tmp_path: Path) -> None:
    make, says = CHECKPOINTS[case]
    make(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=re.escape(says)):
        load_checkpoint(tmp_path / "a.ckpt")


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


def test_numbers_are_named() -> None:
    check_numbers({"a": [1, 2.0, None, "inf", True, {"b": -(2**63)}]})
    with pytest.raises(ValueError, match=r"Expected `a\[1\]\.b` to be a number of at most 64 bits, but got 65\."):
        check_numbers({"a": [1, {"b": 2**64}]})
