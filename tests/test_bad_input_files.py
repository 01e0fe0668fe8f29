"""Wrong checkpoints, genotypes, folders and images give one sentence that names them, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from made import picture, write_folders, write_parquet
from refusals import DATA, EVALUATION, FOUND, GENOTYPE, MODEL, QUIET, SEARCH, check_refusals

from robustnas.runs.record import Run, read_genotype

ROWS: dict[str, tuple[Sequence[str], str]] = {
    "missing checkpoint": (
        [*SEARCH, "--ckpt_path=none.ckpt"],
        "Expected `--ckpt_path` to be a checkpoint, but there is no file none.ckpt.",
    ),
    "folder for a checkpoint": (
        [*SEARCH, "--ckpt_path=."],
        "Expected `--ckpt_path` to be a checkpoint, but . is a folder.",
    ),
    "no last checkpoint": (
        [*SEARCH, "--ckpt_path=last", "--run-dir=empty"],
        "Expected `--ckpt_path` to be a checkpoint, but there is no file empty/last.ckpt.",
    ),
    "last of what": (
        [*SEARCH, "--ckpt_path=last"],
        "Expected `--run-dir` to name the run whose last checkpoint is to be loaded, but got none.",
    ),
    "corrupt checkpoint": (
        [*SEARCH, "--ckpt_path=corrupt.ckpt"],
        "Expected `--ckpt_path` to be a checkpoint of robustnas, but reading corrupt.ckpt fails with ",
    ),
    "empty checkpoint": (
        [*SEARCH, "--ckpt_path=empty.ckpt"],
        "Expected `--ckpt_path` to be a checkpoint of robustnas, but reading empty.ckpt fails with EOFError:",
    ),
    "checkpoint of something else": (
        [*SEARCH, "--ckpt_path=other.ckpt"],
        "Expected `--ckpt_path` to be a checkpoint of robustnas, but reading other.ckpt fails with KeyError: ",
    ),
    "nothing to measure": (
        ["validate", *MODEL, *DATA],
        "Expected `--ckpt_path` to name the checkpoint to evaluate, but got none.",
    ),
    "folder that holds a run": (
        [*SEARCH, "--run-dir=taken"],
        "Expected `--run-dir` to be a new folder, but taken holds a run; `--ckpt_path auto` starts it again, since it",
    ),
    "continue nothing in particular": (
        [*SEARCH, "--ckpt_path=auto"],
        "Expected `--run-dir` to name the run whose last checkpoint is to be loaded, but got none.",
    ),
    "checkpoints at negative steps": (
        [*SEARCH, "--checkpoint_every=-1"],
        "Expected `checkpoint_every` to be 0 or a number of steps, but got -1.",
    ),
    "evaluation without an architecture": (
        EVALUATION,
        "Expected `architecture` of EvaluationModule to be given, but got none.",
    ),
    "missing genotype": (
        [*FOUND, "--model.architecture.genotype=none.json"],
        "Expected `genotype` to be a genotype as text, a file that holds one or a run folder, but got 'none.json'",
    ),
    "genotype from another space": (
        [*FOUND[:-1], f"--model.architecture.genotype={GENOTYPE}", "--model.architecture.space=S1"],
        "Expected `genotype` to be from the space S1, but got one from NASBench201.",
    ),
    "genotype that is no JSON": (
        [*FOUND, "--model.architecture.genotype=list.yaml"],
        "Expected list.yaml to hold a genotype. Expected `genotype` to be JSON, one line such as ",
    ),
    "JSON that is no genotype": (
        [*FOUND, "--model.architecture.genotype=taken/manifest.json"],
        "Expected taken/manifest.json to hold a genotype. Expected `genotype` JSON to have",
    ),
    "evaluate nothing": (["evaluate", "none"], "Expected RUN to be the folder of a search, but there is no none."),
    "evaluate an empty folder": (["evaluate", "empty"], "Expected `empty` to hold genotype.json, which a finished"),
    "evaluate without configuration": (
        ["evaluate", "bare"],
        "Expected bare/config.yaml to be a configuration in YAML, but reading it fails: No such file or directory.",
    ),
    "draw an unknown form": (
        ["draw", GENOTYPE, "--out=cells.gif"],
        "Expected `path` to end in .svg, .png or .dot, but got 'cells.gif'.",
    ),
    "draw nothing": (["draw", "none"], "Expected `genotype` to be a genotype as text, a file that holds one or "),
    "draw where nothing can be written": (
        ["draw", GENOTYPE, "--out=list.yaml/cells.svg"],
        "Expected to read or write list.yaml/cells.svg, but got: Not a directory.",
    ),
    "no folder of images": (
        ["fit", *MODEL, "--data=ImageFolder", "--data.root=none", *QUIET],
        "Expected `root` to be a folder, but got 'none'.",
    ),
    "empty folder of images": (
        ["fit", *MODEL, "--data=ImageFolder", "--data.root=empty", *QUIET],
        "Expected 'empty' to hold a folder of images for each class, but got none.",
    ),
    "one class": (
        ["fit", *MODEL, "--data=ImageFolder", "--data.root=one", *QUIET],
        "Expected `classes` to be at least two for classification, but got ['class0'].",
    ),
    "corrupt image": (
        ["fit", *MODEL, "--data=ImageFolder", "--data.root=damaged", *QUIET],
        "Expected each of 16 images to be readable, but got 1 that is not: 'damaged/class1/3.png' (",
    ),
    "corrupt parquet": (
        ["fit", *MODEL, "--data=ParquetImages", "--data.train=damaged.parquet", *QUIET],
        "Expected 'damaged.parquet' to be a readable parquet file, but got: ",
    ),
    "missing column": (
        ["fit", *MODEL, "--data=ParquetImages", "--data.train=good.parquet", "--data.image_column=picture", *QUIET],
        "Expected 'good.parquet' to have the column 'picture', but its columns are ['img', 'label'].",
    ),
    "targets without a table": (
        ["fit", *MODEL, "--data=ImageFolder", "--data.root=one", "--data.task=regression", *QUIET],
        "Expected `labels` to be a CSV file of targets for regression, but got None.",
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that is wrong in the rows above."""
    folder = tmp_path_factory.mktemp("place")
    texts = {
        "list.yaml": "- a\n",
        "corrupt.ckpt": "no checkpoint\n",
        "empty.ckpt": "",
        "taken/manifest.json": "{}",
        "damaged/class1/3.png": picture(0.5, 0)[:60].decode("latin-1"),
        "damaged.parquet": "PAR1 and no more",
    }
    write_folders(folder / "one", classes=1)
    write_folders(folder / "damaged", each=8)
    write_parquet(folder / "good.parquet")
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text.encode("latin-1"))
    for name in ("empty", "bare"):
        (folder / name).mkdir()
    torch.save({"state_dict": {}}, folder / "other.ckpt")
    Run(folder / "bare").write_genotype(read_genotype(GENOTYPE))
    return folder


def test_wrong_files_are_named_before_anything_is_trained(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_refusals(ROWS, place, capsys, monkeypatch)
