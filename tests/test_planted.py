"""No module of the current folder is executed, whatever command runs there and whatever it tries to import."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from planted import PART, Planted, installed
from words import QUIET, SMALL

from robustnas.__main__ import COMMANDS, main
from robustnas.studies.results import read_results

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs")

ONE = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1"]
NETWORK = [f"--model.architecture.{option}" for option in ("cells=1", "channels=2")]
TABLE = "arch,cifar10\n|avg_pool_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|,1\n"
STUDY = """
name: own
variants: {{DARTS: {{config: config.yaml, options: {options}}}}}
seeds: [0, 1]
baselines: []
evaluation: null
"""
TUNING = """
name: own
command: fit
config: config.yaml
options: {{trainer.max_epochs: 1}}
space: {{{option}: {{low: 0.01, high: 0.1}}}}
trials: 2
"""
# Each command in the folder of a run, and the exit statuses that it may have. Those that start other processes or train
# for long are refused once they have imported what they need; `LONGER` runs them to their ends.
COMMAND_LINES: dict[str, tuple[list[str], set[int]]] = {
    "draw": (["draw", ".", "--out", "cells.png"], {0}),
    "table": (["table", "show", "table.csv"], {0}),
    "diagnose": (["diagnose", "."], {0, 10, 15, 20, 30}),
    "report": (["report", ".", "-o", "report.html"], {0}),
    "select": (["select", "."], {0}),
    "landscape": (["landscape", ".", "--steps=3", "--batches=1"], {0}),
    "fit": (["fit", "-c", "config.yaml", "--run-dir=again"], {0}),
    "validate": (["validate", "-c", "config.yaml", "--ckpt_path=last.ckpt"], {0}),
    "evaluate": (["evaluate", ".", *NETWORK, *ONE, *QUIET], {0}),
    "predict": (["predict", ".", "."], {0, 1, 3}),
    "export": (["export", ".", "--format=state_dict", "--out=weights.pt"], {0}),
    "test": (["test", "-c", "evaluation/config.yaml", "--ckpt_path=evaluation/last.ckpt"], {0}),
    "profile": (["profile", "-c", "config.yaml", "--repeats=1", "--batch=2"], {0}),
    "verify": (["verify", "-c", "config.yaml", "--only=roles"], {0}),
    "doctor": (["doctor", "--no-test"], {0, 1}),
    "quickstart": (["quickstart", "--run-dir=quick", "--seed=-1"], {2}),
    "ablate": (["ablate", "wrong.yaml"], {1, 2}),
    "tune": (["tune", "wrong_tuning.yaml"], {1, 2}),
    "completion": (["completion", "bash"], {0}),
}
LONGER: dict[str, tuple[list[str], set[int]]] = {
    "verify": (["verify", "-c", "config.yaml"], {0}),
    "doctor": (["doctor"], {0, 1}),
    "quickstart": (["quickstart", "--run-dir=quick"], {0}),
    "ablate": (["ablate", "study.yaml", "--workers=2", "--trust=my_part"], {0}),
    "tune": (["tune", "tuning.yaml", "--folder=tuned", "--workers=1"], {0}),
    "two processes": (["fit", "-c", "config.yaml", "--run-dir=again", "--trainer.devices=2"], {0}),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted") / "run"
    assert main(["fit", *SMALL, *ONE, "--diagnostics.measures=[]", f"--run-dir={folder}"]) == 0
    return folder


@pytest.fixture
def planted(run: Path, tmp_path: Path) -> Planted:
    """A copy of a run, in which commands are given as in one that was unpacked."""
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    for name, options in {"study": "{model.init_args.relaxation: my_part.Warm}", "wrong": "{model.wrong: 1}"}.items():
        (folder / f"{name}.yaml").write_text(STUDY.format(options=options), encoding="utf-8")
    for name, option in {"tuning": "model.init_args.lr", "wrong_tuning": "model.wrong"}.items():
        (folder / f"{name}.yaml").write_text(TUNING.format(option=option), encoding="utf-8")
    (folder / "table.csv").write_text(TABLE, encoding="utf-8")
    (folder / "my_part.py").write_text(PART, encoding="utf-8")
    return Planted(folder, tmp_path)


def test_a_module_in_a_folder_on_the_path_is_executed(planted: Planted) -> None:
    """What the other tests look for can be seen."""
    code = "import sys; sys.path.append(sys.argv.pop(1)); from robustnas.__main__ import main; main(sys.argv[1:])"
    done = planted.run("-c", code, str(planted.folder), "draw", ".", "--out=cells.png")
    assert done.returncode == 0, done.stderr
    assert planted.executed()


def test_no_command_executes_what_lies_in_the_current_folder(planted: Planted) -> None:
    """One process runs all commands, since each would need seconds to import the same."""
    assert set(COMMAND_LINES) == set(COMMANDS)
    planted.plant(*installed())
    words = [word for line, _ in COMMAND_LINES.values() for word in (*line, "--")]
    done = planted.run(str(planted.means / "driver.py"), *words)
    said = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    assert done.returncode == 0, said
    assert planted.executed() == set()
    assert {"msvcrt", "pandas", "torchvision"} <= planted.sought()  # nothing sought would be nothing proven
    statuses = map(int, done.stdout.rpartition("statuses")[2].split())
    for (name, (_, allowed)), status in zip(COMMAND_LINES.items(), statuses, strict=True):
        assert status in allowed, f"{name}: {said}"


@pytest.mark.slow
def test_workers_of_a_study_import_what_is_trusted_and_nothing_else(planted: Planted) -> None:
    planted.plant(*installed())
    done = planted.run(entry_point(), "ablate", "study.yaml", "--workers=2", "--folder=study", "--trust=my_part")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert planted.executed() == set()
    records = read_results(planted.folder / "study")
    assert [record.held["arguments"] for record in records] == [{}, {}]
    for record in records:
        config = (planted.folder / "study" / record.folder / "search" / "config.yaml").read_text(encoding="utf-8")
        assert "class_path: my_part.Warm" in config


@pytest.mark.parametrize("start", ["-m", "an empty entry of PYTHONPATH"])
def test_ways_of_python_to_the_current_folder_are_closed(start: str, planted: Planted) -> None:
    """What Python itself has imported before this library could close them is not planted."""
    if start == "-m":
        (planted.folder / "loaded.py").write_text("import sys; print(*sys.modules)", encoding="utf-8")
        before = planted.run("-m", "loaded").stdout.split()
        planted.plant(*(installed() - {*before, "robustnas"}))
        done = planted.run("-m", "robustnas", "draw", ".", "--out=cells.png")
    else:
        site = {"_distutils_hack"}  # which setuptools lets Python load before any program
        planted.plant(*(installed() - sys.stdlib_module_names - site - {"robustnas"}))
        done = planted.run(entry_point(), "draw", ".", "--out=cells.png", path=os.pathsep)
    assert done.returncode == 0, done.stderr
    assert planted.executed() == set()


@pytest.mark.slow
@pytest.mark.timeout(2000)
@pytest.mark.parametrize("name", [*COMMANDS, "two processes"])
def test_each_command_to_its_end(name: str, planted: Planted) -> None:
    """Each in a process of its own, as a user starts it, with all processes that it starts."""
    planted.plant(*installed())
    if name == "test":
        planted.run(entry_point(), *COMMAND_LINES["evaluate"][0])
    words, allowed = {**COMMAND_LINES, **LONGER}[name]
    done = planted.run(entry_point(), *words)
    assert done.returncode in allowed, done.stdout[-2000:] + done.stderr[-4000:]
    assert planted.executed() == set()


def entry_point() -> str:
    """The script that an installation makes, beside Python."""
    script = Path(sys.executable).with_name("robustnas")
    if not script.is_file():
        pytest.skip(f"robustnas is not installed beside {sys.executable}")
    return str(script)
