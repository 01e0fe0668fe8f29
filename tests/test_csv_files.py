"""Text and CSV files: byte order marks, line ends, delimiters, wrong rows and names, and cells that are formulas."""

from __future__ import annotations

import ast
import csv
import gzip
import io
from pathlib import Path

import pytest
from tables import check_each

from robustnas.runtime.csv_files import csv_text, is_csv, number, read_csv
from robustnas.runtime.safe_yaml import read_yaml
from robustnas.runtime.text_files import read_text

ROOT = Path(__file__).resolve().parents[1]
PLAIN = "arch,top1\na,1.5\n\nb,2\n"
FORMS = {
    "plain": PLAIN.encode(),
    "byte order mark": PLAIN.encode("utf-8-sig"),
    "CRLF": PLAIN.replace("\n", "\r\n").encode(),
    "old Mac": PLAIN.replace("\n", "\r").encode(),
    "all of it": PLAIN.replace("\n", "\r\n").encode("utf-8-sig"),
    "gzip": gzip.compress(PLAIN.encode("utf-8-sig")),
    "no last line end": PLAIN.rstrip().encode(),
    "semicolons": PLAIN.replace(",", ";").encode(),
    "tabs": PLAIN.replace(",", "\t").encode("utf-8-sig"),
    "quotes": b'"arch","top1"\n"a","1.5"\n"b","2"\n',
    "empty rows of Excel": b"arch,top1\na,1.5\n,\nb,2\n,,,\n",
    "spaces around names": b" arch , top1\na,1.5\nb,2\n",
}


def test_every_form_of_a_table_gives_the_same(tmp_path_factory: pytest.TempPathFactory) -> None:
    def check(form: str) -> None:
        tmp_path = tmp_path_factory.mktemp("row")
        (tmp_path / "t.csv").write_bytes(FORMS[form])
        table = read_csv(tmp_path / "t.csv")
        assert table.names == ["arch", "top1"]
        assert table.records() == [{"arch": "a", "top1": "1.5"}, {"arch": "b", "top1": "2"}]

    check_each(FORMS, check)


def test_rows_know_their_lines(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b'a,b\r\n\r\n1,"x\ny"\r\n2,z\r\n')
    assert [(row.line, row.cells) for row in read_csv(tmp_path / "t.csv").rows] == [(3, ["1", "x\ny"]), (5, ["2", "z"])]


def test_configurations_may_have_a_byte_order_mark(tmp_path_factory: pytest.TempPathFactory) -> None:
    def check(end: str) -> None:
        tmp_path = tmp_path_factory.mktemp("row")
        (tmp_path / "c.yaml").write_bytes(end.join(["model: DARTS", "data:", "  size: 3", ""]).encode("utf-8-sig"))
        assert read_yaml(tmp_path / "c.yaml") == {"model": "DARTS", "data": {"size": 3}}

    check_each(["\n", "\r\n", "\r"], check)


BAD = {
    "long row": (
        b"a,b\n1,2\n1,2,3\n",
        "2 fields in line 3, as in its header, but got 3: ['1', '2', '3']; a number with",
    ),
    "short row": (b"a,b\n\n1\n", "2 fields in line 3, as in its header, but got 1: ['1']."),
    "long row of semicolons": (b"a;b\n1;2;3\n", "2 fields in line 2"),
    "decimal commas": (b"a,b\nx,60,00\n", "a number with a decimal comma must be quoted"),
    "name twice": (b"a,b,a\n1,2,3\n", "to name each column once, but got 'a' twice."),
    "no name": (b",a\n0,1\n", "column 1 of 2 has no name; pandas does not write this column with `index=False`."),
    "no last name": (b"a,\n0,1\n", "column 2 of 2 has no name."),
    "Latin-1": ("a,b\n1,2\ncafé,3\n".encode("latin-1"), "text in UTF-8, but got the byte 0xe9 in line 3"),
    "UTF-16": ("a,b\n1,2\n".encode("utf-16"), "text in UTF-8, but got UTF-16."),
    "UTF-16 without a mark": ("a,b\n1,2\n".encode("utf-16-le"), "text in UTF-8, but got a byte 0x00"),
    "cut gzip": (gzip.compress(b"a,b\n1,2\n" * 99)[:-9], "a complete gzip file, but unpacking it fails"),
    "open quote": (b'a,b\n1,"2\n3,4\n', "a CSV file, but reading it fails: unexpected end of data."),
}


def test_a_table_that_is_wrong_is_one_sentence(tmp_path_factory: pytest.TempPathFactory) -> None:
    def check(case: str) -> None:
        tmp_path = tmp_path_factory.mktemp("row")
        path, (content, says) = tmp_path / "t.csv", BAD[case]
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"^Expected {path} to ") as caught:
            read_csv(path)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)

    check_each(BAD, check)


def test_files_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"none\.csv to be a file that can be read, but got no such file\.$"):
        read_csv(tmp_path / "none.csv")
    with pytest.raises(ValueError, match=r"to be a file that can be read, but got Is a directory\.$"):
        read_csv(tmp_path)
    monkeypatch.setattr("robustnas.runtime.text_files.MAX_BYTES", 99)
    (tmp_path / "t.gz").write_bytes(gzip.compress(b"a" * 100))
    with pytest.raises(ValueError, match="at most 99 bytes once unpacked, but got more"):
        read_text(tmp_path / "t.gz")


def test_what_is_no_number_is_said() -> None:
    rows = [
        ("60,00", " (a decimal comma; write 60.00)"),
        ("60.00%", " (a percent sign; write 60.00)"),
        (" 60,5 %", " (a decimal comma and a percent sign; write 60.5)"),
        ("1,234,567", ""),
        ("high", ""),
        ("1_000", ""),
        ("", ""),
    ]

    def check(row: tuple[str, str]) -> None:
        text, hint = row
        with pytest.raises(ValueError, match=r"^Expected a number, but got ") as caught:
            number(text, "line 2 of t.csv")
        assert str(caught.value) == f"Expected a number, but got {text!r}{hint} in line 2 of t.csv."

    check_each(rows, check)


def test_numbers_are_read() -> None:
    assert [number(text, "x") for text in ("-0.5", " 1e3 ", "-inf", "+2")] == [-0.5, 1000.0, -float("inf"), 2.0]


def test_names_of_csv_files() -> None:
    assert all(map(is_csv, ("a.csv", "A.CSV", "a.tsv", "b/a.csv.gz")))
    assert not any(map(is_csv, ("a.npz", "a.gz", "csv", "a.csv/b")))


def test_no_cell_is_a_formula() -> None:
    """A spreadsheet evaluates what begins with these characters; numbers among them stay numbers."""
    rows = [
        {
            "=name": "=1+1",
            "b": "+cmd|' /C calc'!A0",
            "c": "@sum(a)",
            "d": "-2+3",
            "e": "\t=1",
            "f": "\r=1",
            "g": "\n=1",
        },
        {"=name": -0.5, "b": "-0.5", "c": "+1e-3", "d": "-inf", "e": None, "f": True, "g": "a=1"},
    ]
    names, first, second = csv.reader(io.StringIO(csv_text(rows), newline=""))
    assert names == ["'=name", *"bcdefg"]
    assert first == ["'=1+1", "'+cmd|' /C calc'!A0", "'@sum(a)", "'-2+3", "'\t=1", "'\n=1", "'\n=1"]
    assert second == ["-0.5", "-0.5", "+1e-3", "-inf", "", "True", "a=1"]


def test_rows_have_every_name_and_read_back(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(csv_text([{"a": 1}, {"b": 'x,"y"'}]), encoding="utf-8")
    assert read_csv(tmp_path / "t.csv").records() == [{"a": "1", "b": ""}, {"a": "", "b": 'x,"y"'}]
    assert csv_text([], ["a", "b"]) == "a,b\n"


def test_there_is_one_reader_and_one_writer() -> None:
    """Every other module goes through it, so that what holds above holds for every CSV file."""
    sources = [path for folder in ("robustnas", "diagnostics", "variants", "benchmarks")
               for path in (ROOT / folder).rglob("*.py")]  # fmt: skip
    importing = {
        path.relative_to(ROOT).as_posix()
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import) and any(alias.name == "csv" for alias in node.names)
    }
    assert importing == {"robustnas/runtime/csv_files.py"}
