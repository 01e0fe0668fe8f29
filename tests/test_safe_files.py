"""YAML and JSON that expand to more than their size, or hold what is no number, are refused while they are read."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from refusals import said
from tables import check_each

from robustnas.cli.configuration import configuration
from robustnas.runtime.safe_files import check_numbers, parse_json, read_bytes
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


def test_yaml_is_refused_in_a_sentence(tmp_path_factory: pytest.TempPathFactory) -> None:
    def check(case: str) -> None:
        tmp_path = tmp_path_factory.mktemp("row")
        text, says = REFUSED[case]
        path = tmp_path / "bad.yaml"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=r"^Expected ") as caught:
            read_yaml(path)
        assert says in str(caught.value)
        assert len(str(caught.value)) < 400

    check_each(REFUSED, check)


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


def test_json_is_refused() -> None:
    def check(case: str) -> None:
        text, says = JSON[case]
        with pytest.raises(ValueError, match=re.escape(says)):
            parse_json(text)

    check_each(JSON, check)


def test_json_that_is_right_is_read() -> None:
    given = {"a": [1, 2.5, None, True, "\udcff"], "b": {"c": -(2**63)}}
    assert parse_json(json.dumps(given)) == given
    assert parse_json(b"\xef\xbb\xbf[1]") == [1]


def test_numbers_are_named() -> None:
    check_numbers({"a": [1, 2.0, None, "inf", True, {"b": -(2**63)}]})
    with pytest.raises(ValueError, match=r"Expected `a\[1\]\.b` to be a number of at most 64 bits, but got 65\."):
        check_numbers({"a": [1, {"b": 2**64}]})
