"""One evaluation for all tests of this folder: two classes of pictures, in a folder of a search that found a cell."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from made import write_folders
from refusals import GENOTYPE
from words import QUIET

import robustnas
from robustnas.__main__ import main
from robustnas.inference import TrainedNetwork
from robustnas.runs.record import Run
from robustnas.spaces import Genotype


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `images`, the search `run` and its `run/evaluation`."""
    folder = tmp_path_factory.mktemp("use")
    write_folders(folder / "images", size=12)
    Run(folder / "run").write_genotype(Genotype.from_nasbench201(GENOTYPE))
    data = {
        "class_path": "ImageFolder",
        "init_args": {"root": str(folder / "images"), "image_size": 8, "batch_size": 8},
    }
    model = {"class_path": "DARTS", "init_args": {"space": "NASBench201"}}
    (folder / "run" / "config.yaml").write_text(yaml.safe_dump({"model": model, "data": data}), encoding="utf-8")
    size = ["--model.architecture.cells=1", "--model.architecture.channels=4", "--trainer.max_epochs=3"]
    assert main(["evaluate", str(folder / "run"), *size, *QUIET]) == 0
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of the search and its evaluation, to change."""
    return Path(shutil.copytree(made / "run", tmp_path / "run"))


@pytest.fixture(scope="session")
def network(made: Path) -> TrainedNetwork:
    torch.manual_seed(0)
    return robustnas.load_network(made / "run")
