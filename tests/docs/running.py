"""Runs and checks what the blocks of a page say, in a folder that holds what the documentation takes for granted."""

from __future__ import annotations

import importlib
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from blocks import ROOT, Block, commands, stable
from made import write_folders, write_parquet

from robustnas.__main__ import main
from robustnas.cli import lightning_cli
from robustnas.commands import COMMANDS
from robustnas.runs.record import read_json
from robustnas.runtime.paths import find_config
from robustnas.runtime.trust import trusting

VARIABLE = r"[A-Z_]+=\S*"
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
SHORT = ["--trainer.max_epochs=1", *(f"--trainer.limit_{part}_batches=1" for part in ("train", "val", "test")), *QUIET]
SHORT += ["--data.batch_size=8", "--data.eval_batch_size=16"]
SHALLOW = {"fit": "--model.layers=3", "evaluate": "--model.architecture.layers=3"}
VERDICTS = (10, 15, 20, 30)  # exit statuses of `diagnose` for every state but healthy
OF_FIT = ("fit", "evaluate", "verify", "profile")  # commands that take the options of `fit`
LAUNCHERS = ("sbatch", "torchrun")
INSTALLERS = (
    "pip",
    "python3",
    ".venv/bin/python",
    ".venv/bin/pip",
    "/tmp/pins/bin/pip",
    "source",
    "pre-commit",
    "ruff",
    "mypy",
    ".ci/run",
    "sphinx-build",
)


def furnish(folder: Path) -> None:
    """Put into a folder what the pages assume: the configurations, the repository's files, small images and data."""
    for name in ("configs", "docs", "benchmarks", "examples", "tests"):
        (folder / name).symlink_to(ROOT / name)
    write_folders(folder / "my_images")
    for name in ("train", "test"):
        (folder / "data" / "cifar10").mkdir(parents=True, exist_ok=True)
        write_parquet(folder / "data" / "cifar10" / f"{name}.parquet")


def run_block(block: Block, names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Do what a block says, in the current folder.

    Args:
        block: The block.
        names: Names that Python blocks of the page have defined; new ones are added.
        capsys: What is printed.
    """
    if block.language == "python":
        exec(compile("\n" * block.line + block.text, block.place, "exec"), names)
    elif block.language == "console":
        for words, expected in commands(block):
            capsys.readouterr()
            status = _run(words, block)
            printed = capsys.readouterr()
            said = f"{block.place}: {' '.join(words)}\n{printed.out}\n{printed.err}"
            assert status == int(block.attributes.get("status", 0)), said
            seen = {stable(line) for line in (printed.out + printed.err).splitlines()}
            missing = [line for line in expected if stable(line) and not any(stable(line) in one for one in seen)]
            assert missing == [], said
    else:
        check_block(block)


def _run(words: list[str], block: Block) -> int:
    if re.fullmatch(VARIABLE, words[0]):
        with mock.patch.dict(os.environ, dict([words[0].split("=", 1)])):
            return _run(words[1:], block)
    if words[0] == "robustnas":
        added = block.attributes.get("with", "").split() if words[1] in OF_FIT else []
        short = [*SHORT, *_shallow(words)] if words[1] in SHALLOW else []
        status = main([*words[1:], *(word for word in short if word.partition("=")[0] not in words), *added])
        judged = words[1] == "diagnose" and "status" not in block.attributes  # the verdict on a step is one of chance
        return 0 if judged and status in VERDICTS else status
    if words[0] == "python":
        done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True)
        print(done.stdout, done.stderr)
        return done.returncode
    raise AssertionError(f"{block.place}: `{words[0]}` is not run by this test; mark the block with a reason")


def _shallow(words: list[str]) -> list[str]:
    """An option for few cells in a row, where the network of a command is one of DARTS."""
    if words[1] == "evaluate":
        deep = read_json(Path(words[2], "genotype.json"))["cells"].keys() == {"normal", "reduce"}
    else:
        named = [after for before, after in itertools.pairwise(words) if before == "-c"]
        deep = any("\n    layers: " in find_config(name).read_text(encoding="utf-8") for name in named)
    return [SHALLOW[words[1]]] if deep else []


def check_block(block: Block) -> None:
    """Check a block without running it: Python compiles, YAML parses, options of commands exist, files are there."""
    if block.language == "python":
        compile(block.text, block.place, "exec")
    elif block.language == "yaml":
        yaml.safe_load(block.text)
    elif block.language == "console":
        for words, _ in commands(block):
            check_command(words, block)


def check_command(words: list[str], block: Block) -> None:
    """Check that a command exists, that its options do, and that the files of this repository which it names do."""
    words = [word for word in words if not re.fullmatch(VARIABLE, word)]
    for word in words:
        name = re.split(r"::|=", word)[0 if "=" not in word else -1]
        if re.match(r"(docs/(?!_build)|configs/|benchmarks/|examples/|tests/)", name) and "results" not in name:
            assert (ROOT / name).exists(), f"{block.place}: there is no {name}"
    if words[0] in LAUNCHERS and "robustnas" in words:
        words = words[words.index("robustnas") :]
    if words[0] == "robustnas":
        _check_options(words[1:], block)
    elif words[0] == "python" and words[1].endswith(".py"):
        source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / words[1]).parent.glob("*.py"))
        missing = [word for word in words if word.startswith("--") and f'"{word}"' not in source]
        assert missing == [], f"{block.place}: {words[1]} does not have {missing}"
    else:
        known = (*LAUNCHERS, *INSTALLERS, "python", "curl", "tensorboard", "wandb", "ray")
        assert words[0] in known, f"{block.place}: {words[0]} is no command that this test knows"


def _check_options(words: list[str], block: Block) -> None:
    assert words[0] in (*COMMANDS, "--help", "--version", "COMMAND"), f"{block.place}: robustnas has no {words[0]}"
    try:
        with trusting(words) as trusted:
            for line in _of_fit(trusted):
                lightning_cli.main(line, stop_after="parsing")
    except ValueError as error:
        pytest.fail(f"{block.place}: {' '.join(words)}: {error}")


def _of_fit(words: list[str]) -> list[list[str]]:
    """Let a command parse its own options, and give command lines of ``fit`` with those that it hands on."""
    if words[0] in ("validate", "test"):
        return [words]
    if words[0] not in COMMANDS:
        return []
    parser = importlib.import_module(COMMANDS[words[0]][0]).parser()
    found, rest = parser.parse_known_args(words[1:])
    if words[0] == "fit":
        return [["fit", *rest]]
    if rest and words[0] in OF_FIT:
        config = [] if "-c" in rest else ["-c", getattr(found, "config", None) or "evaluate_darts"]
        return [["fit", *config, *rest]]
    if rest and words[0] != "select":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return []
