"""Output is printable in every encoding, and error messages are one line without control characters."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from refusals import SEARCH, said

from robustnas.__main__ import main
from robustnas.runtime.atomic_files import write_text
from robustnas.runtime.terminal import one_line, printable
from robustnas.training import SearchModule

GENOTYPE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|"
SHORT = ["--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "--diagnostics.measures=[]"]


@pytest.mark.parametrize(
    ("text", "spelt"),
    [("α β λ τ Ω", "alpha beta lambda tau Omega"), ("1 — 2 ± 3", "1 - 2 +- 3"), ("café", "cafe"), ("│─┌", "|-+"),
     ("猫\udcff", "\\u732b\\udcff"), ("plain", "plain")],
)  # fmt: skip
def test_letters_that_an_encoding_lacks_are_spelt(text: str, spelt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    with printable():
        print(text, flush=True)
    assert written.getvalue().decode("ascii") == spelt + "\n"
    assert sys.stdout.errors == "strict"  # as it was


def test_half_characters_are_printed_in_utf_8_too(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="utf-8"))
    with printable():
        print("α\udcff", flush=True)
    assert written.getvalue() == "α\\udcff\n".encode()


def test_half_characters_are_written_to_files(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "α\udcff")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "α\\udcff"


def test_an_error_moves_no_cursor_and_is_short() -> None:
    assert one_line("a\x1b[2J\nb\tc\u202e\udcff α") == "a\\x1b[2J b\\tc\\u202e\\udcff α"
    assert len(one_line("x" * 10**6)) < 2100


@pytest.mark.parametrize("words", [["draw", "a\udcff\x1b[2J"], ["report", "\udcff"], ["select", "\udcff"], ["\udcff"]])
def test_names_that_are_no_text_are_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "\\udcff" in said(words, capsys)


def test_a_genotype_is_drawn_under_a_name_that_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["draw", GENOTYPE, f"--out={tmp_path}/\udcff.svg"]) == 0
    assert (tmp_path / "\udcff.svg").is_file()
    assert capsys.readouterr().out == f"{tmp_path}/\\udcff.svg\n"


def test_a_search_prints_what_ascii_can_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(written, encoding="ascii", write_through=True))
    for words in ([*SEARCH, *SHORT, "--run-dir=run"], ["diagnose", "run"], ["report", "run"]):
        assert main(words) % 10 == 0
    printed = written.getvalue().decode("ascii")
    assert "alpha" in printed
    assert "Traceback" not in printed


@pytest.mark.slow
def test_a_search_runs_where_only_ascii_is_printed(tmp_path: Path) -> None:
    """In a process of its own, since the encoding of files too is chosen when Python starts."""
    plain = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LANG": "C", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    script = (
        "import sys; from robustnas.__main__ import main; "
        f"sys.exit(main({[*SEARCH, *SHORT, '--run-dir=run']!r}) or main(['diagnose', 'run']) % 10 "
        "or main(['report', 'run']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={**os.environ, **plain}, capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()
    assert "alpha" in ended.stdout.decode("ascii")
    assert "Traceback" not in ended.stderr.decode("ascii")


def test_a_current_folder_that_was_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert said(["draw", GENOTYPE], capsys) == "Expected the current folder to exist, but it was deleted."


@pytest.mark.parametrize("file", [False, True])
def test_a_run_folder_that_is_deleted_in_the_run(
    file: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    step = SearchModule.training_step

    def deleting(search: SearchModule, *arguments: object) -> object:
        if search.global_step:
            shutil.rmtree("run")
            if file:
                Path("run").touch()
        return step(search, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(SearchModule, "training_step", deleting)
    sentence = said([*SEARCH, *SHORT, "--run-dir=run"], capsys)
    assert sentence.startswith(f"Expected to read or write {tmp_path / 'run'}")


def test_a_link_to_itself_is_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    for words in (["report", "loop"], ["draw", "loop"], ["select", "loop"], [*SEARCH, "--run-dir=loop"],
                  [*SEARCH, "--run-dir=new", "--ckpt_path=loop"], ["fit", "-c", "loop"]):  # fmt: skip
        assert said(words, capsys).startswith("Expected ")
