"""Genotypes are read in every form that people exchange, as text and as a file; nothing in them is executed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from golden import listing
from tables import check_each

from robustnas.__main__ import main
from robustnas.runs.record import Run, read_genotype
from robustnas.spaces import DARTS, S1, Genotype, NASBench201, decode, parse_genotype
from robustnas.training.architecture import Found

NORMAL = [("sep_conv_3x3", 0), ("dil_conv_3x3", 1), ("skip_connect", 0), ("sep_conv_3x3", 1),
          ("max_pool_3x3", 0), ("sep_conv_5x5", 2), ("skip_connect", 0), ("dil_conv_5x5", 3)]  # fmt: skip
REDUCE = [*NORMAL[:6], ("avg_pool_3x3", 2), ("skip_connect", 4)]
FOUND = Genotype.from_quark0(NORMAL, REDUCE)
OTHER = Genotype.from_quark0(REDUCE, NORMAL)
CALL = f"Genotype(normal={NORMAL}, normal_concat=range(2, 6), reduce={REDUCE}, reduce_concat=range(2, 6))"
CELL = decode(1234, NASBench201)

DARTS_FORMS = {
    "one line": str(FOUND),
    "one line in a log": f"12:00:01 genotype: {FOUND}\nRun: runs/mine\n",
    "one line, wrapped": str(FOUND).replace(", 1-3", ",\n  1-3"),
    "one line in YAML": f'genotype: "{FOUND}"\n',
    "JSON": FOUND.to_json(),
    "JSON in one line": json.dumps(json.loads(FOUND.to_json())),
    "DARTS": CALL,
    "DARTS, assigned": f"DARTS_V2 = {CALL}\n",
    "DARTS, a log": f"11/26 12:00:01 PM genotype = {CALL}\n11/26 12:00:02 PM valid_acc 88.1\n",
    "DARTS, twice the same": f"11/26 genotype = {CALL}\n11/27 genotype = {CALL}\n",
    "DARTS, several lines": CALL.replace(", (", ",\n    (").replace(", reduce", ",\n  reduce"),
    "DARTS, module": f"genotypes.{CALL}",
    "DARTS, lists": CALL.replace("range(2, 6)", "[2, 3, 4, 5]"),
    "DARTS, list of a range": CALL.replace("range(2, 6)", "list(range(2, 6))"),
    "DARTS, positional": f"Genotype({NORMAL}, range(2, 6), {REDUCE}, range(2, 6))",
    "DARTS, as JSON": json.dumps({"normal": NORMAL, "normal_concat": [2, 3, 4, 5], "reduce": REDUCE}),
    "DARTS, as a dict": str(
        {"normal": NORMAL, "normal_concat": [2, 3, 4, 5], "reduce": REDUCE, "reduce_concat": [2, 3, 4, 5]}
    ),
}
CELL_FORMS = {
    "string": CELL.to_nasbench201(),
    "string in a log": f"Structure(4 nodes with {CELL.to_nasbench201()})\n",
    "one line": str(CELL),
    "JSON": CELL.to_json(),
}
EACH = [(FOUND, text) for text in DARTS_FORMS.values()] + [(CELL, text) for text in CELL_FORMS.values()]


def test_every_form_is_read_as_text_and_from_a_file(tmp_path: Path) -> None:
    def check(wanted: Genotype, text: str) -> None:
        wanted.validate(DARTS if wanted is FOUND else NASBench201)
        assert parse_genotype(text) == wanted
        assert read_genotype(text) == wanted
        for name, data in {
            "plain.txt": text.encode(),
            "mark.txt": text.encode("utf-8-sig"),
            "windows.txt": text.replace("\n", "\r\n").encode(),
            "mac.txt": text.replace("\n", "\r").encode("utf-8-sig"),
        }.items():
            (tmp_path / name).write_bytes(data)
            assert read_genotype(str(tmp_path / name)) == wanted

    check_each(EACH, lambda row: check(*row))


def test_forms_that_name_no_space_are_of_the_one_that_is_given(tmp_path: Path) -> None:
    genotype = decode(987_654_321, S1)
    call = "Genotype(" + ", ".join(f"{name}={value}" for name, value in listing(genotype).items()) + ")"
    assert parse_genotype(call, S1) == genotype
    assert parse_genotype(call, NASBench201).space == "DARTS"
    assert parse_genotype(CELL.to_nasbench201(), S1).space == "NASBench201"
    (tmp_path / "g.txt").write_text(call, encoding="utf-8")
    assert main(["draw", str(tmp_path / "g.txt"), "--space", "S1", "--out", str(tmp_path / "g.svg")]) == 0
    assert main(["draw", call, "--space", "S1", "--out", str(tmp_path / "text.svg")]) == 0
    assert (tmp_path / "g.svg").read_bytes() == (tmp_path / "text.svg").read_bytes()


def test_evaluate_says_what_to_do_with_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "g.txt").write_text(CALL, encoding="utf-8")
    assert main(["evaluate", str(tmp_path / "g.txt")]) == 1
    assert "use `robustnas fit --model EvaluationModule" in capsys.readouterr().err


def test_a_network_is_built_from_every_form(tmp_path: Path) -> None:
    (tmp_path / "g.txt").write_bytes(f"genotype = {CALL}\r\n".encode("utf-8-sig"))
    for given in (CALL, str(FOUND), str(tmp_path / "g.txt")):
        assert Found(given, channels=4, layers=3).build(10, 3).genotype == FOUND


def test_the_genotype_of_a_run_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "genotype.json").write_bytes(FOUND.to_json().encode("utf-8-sig"))
    assert Run(tmp_path).genotype() == read_genotype(str(tmp_path)) == FOUND


BAD = {
    "several": (
        f"{CALL}\nold = {CALL.replace('sep', 'dil')}",
        "Expected one genotype, but got 2 that differ, the first",
    ),
    "several lines": (
        f"{FOUND}\n{OTHER}\n",
        "Expected one genotype, but got 2 that differ, the first DARTS normal: 0-2",
    ),
    "concat": (
        CALL.replace("range(2, 6)", "[4, 5]"),
        "to join the nodes [2, 3, 4, 5], but got `normal_concat` of [4, 5]",
    ),
    "odd": (
        "Genotype(normal=[('a', 0)], reduce=[('a', 0)])",
        "two pairs for each node and to join the nodes [], but got 1",
    ),
    "no pairs": (
        "Genotype(normal=[1], reduce=[('a', 0)])",
        "`normal` to be pairs like ('skip_connect', 0), but got '[1]'",
    ),
    "recurrent": (
        "Genotype(recurrent=[('tanh', 0)], concat=range(1, 9))",
        "the fields normal, normal_concat, reduce, red",
    ),
    "code": ("Genotype(normal=__import__('os').system('x'), reduce=[])", "which fails: it holds"),
    "huge range": ("Genotype(normal=range(10**9), reduce=[])", "which fails: it holds"),
    "long range": ("Genotype(normal=list(range(999999999)), reduce=[])", "which fails: it holds"),
    "long number": (f"Genotype(normal=[('a', {'1' * 5000})], reduce=[])", "which fails: "),
    "nested": (f"Genotype(normal={'[' * 5000}", "`Genotype(` to have a closing `)`, but got 'normal=[[["),
    "open": ("Genotype(normal=[('a', 0)]", "`Genotype(` to have a closing `)`"),
    "cut line": ("S2 normal: 0-2 skip_connect, 1-", "but got 'S2 normal: 0-2 skip_connect, 1-'."),
    "cut kind": ("S2 normal: 0-2 skip_connect | reduce", "but got 'S2 normal: 0-2 skip_connect | reduce'."),
    "cut string": ("|none~0|+|none~0|none~1", "but got '|none~0|+|none~0|none~1'."),
    "dict": ("{'normal': [open('x')], 'reduce': []}", "which fails: it holds \"open('x')\""),
    "log without one": ("epoch 1\nepoch 2\n", "Expected `genotype` to be JSON, one line such as `S2 normal: 0-2"),
}


def test_what_is_no_genotype_is_one_sentence(tmp_path: Path) -> None:
    def check(case: str) -> None:
        text, says = BAD[case]
        (tmp_path / "g.txt").write_text(text, encoding="utf-8")
        for read in (lambda: parse_genotype(text), lambda: read_genotype(str(tmp_path / "g.txt"))):
            with pytest.raises(ValueError, match=r"^Expected ") as caught:
                read()
            assert says in str(caught.value)
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 1000

    check_each(BAD, check)


def test_what_is_neither_text_nor_file_is_one_sentence() -> None:
    def check(name: str) -> None:
        with pytest.raises(
            ValueError, match=r"^Expected `genotype` to be a genotype as text, a file that holds one or a run"
        ):
            read_genotype(name)

    check_each(["no such file", "x" * 5000, "a\0b", "\udcff"], check)


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "g.txt").write_bytes(CALL.encode("utf-16"))
    with pytest.raises(ValueError, match=r"g\.txt to be text in UTF-8, but got UTF-16\.$"):
        read_genotype(str(tmp_path / "g.txt"))
