"""Help is plain text that says what robustnas adds, and bash completes commands, options, choices and files."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest

from robustnas.__main__ import main
from robustnas.cli.options import plain
from robustnas.commands import COMMANDS

COMPLETE = """
. ./script
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()
_shtab_robustnas
printf "%s\\n" "${{COMPREPLY[@]}}"
"""


def test_help_of_fit_is_plain_text_and_says_what_auto_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--help"])
    said = capsys.readouterr().out
    assert [mark for mark in ("``", ":class:", "lambda", "<http", " object at ") if mark in said] == []
    assert "`auto`: the last one in --run-dir, or a new run" in " ".join(said.split())
    assert "--recipe {auto,paper}" in said


def test_marks_of_restructuredtext_are_left_out() -> None:
    text = "See :class:`~a.b.C` or ``x`` in `the notes <https://a.org/n#1>`_."
    assert plain(text) == "See a.b.C or x in the notes (https://a.org/n#1)."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    with (folder / "script").open("w", encoding="utf-8") as script, contextlib.redirect_stdout(script):
        assert main(["completion", "bash"]) == 0
    (folder / "mine.yaml").touch()
    return folder


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("robustnas qui", {"quickstart"}),
        ("robustnas ''", set(COMMANDS)),
        ("robustnas fit --trainer.max_e", {"--trainer.max_epochs"}),
        ("robustnas fit --bud", {"--budget"}),
        ("robustnas table sho", {"show"}),
        ("robustnas landscape --directions r", {"random"}),
        ("robustnas draw mi", {"mine.yaml"}),
        ("robustnas fit --config mi", {"mine.yaml"}),
    ],
)
def test_bash_completes(words: str, expected: set[str], folder: Path) -> None:
    command = ["bash", "--norc", "-c", COMPLETE.format(words=words)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == expected
