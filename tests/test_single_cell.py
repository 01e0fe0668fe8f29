"""Spaces of a single cell and spaces without skip connections, through every command that reads a space."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tables import with_slow
from words import QUIET

from robustnas.__main__ import main
from robustnas.runs.record import Run, read_genotype
from robustnas.spaces import find_space

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures")

ONE = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1"]
SPACES = {"DARTSSingleCell": "1", "DARTSSingleCellWithoutSkip": "2", "DARTSWithoutSkip": "3"}  # to layers


@pytest.mark.parametrize("space", with_slow(SPACES, ("DARTSSingleCell", "DARTSWithoutSkip")))
def test_search_verdict_drawing_cost_and_evaluation(
    space: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, size = tmp_path / "run", [f"layers={SPACES[space]}", "channels=4"]
    options = [f"--model.{option}" for option in size]
    assert main(["fit", "-c", "digits_darts", f"--model.space={space}", "--data.batch_size=16", *options, *ONE, *QUIET,
        f"--run-dir={folder}"]) == 0  # fmt: skip
    genotype = Run(folder).genotype().validate(find_space(space))
    assert main(["diagnose", str(folder)]) in (0, 10, 15, 20, 30)
    assert main(["draw", str(folder), "--out", str(tmp_path / "cells.svg")]) == 0
    assert main(["report", str(folder)]) == 0
    assert main(["select", str(folder)]) == 0
    assert main(["profile", "-c", str(folder / "config.yaml"), "--measure=flops", f"--out={tmp_path / 'c.json'}"]) == 0
    network = [f"--model.architecture.{option}" for option in size]
    small = [*ONE, "--trainer.limit_test_batches=1", "--data.batch_size=16", *QUIET]
    assert (
        main(["evaluate", str(folder), "--recipe=paper", *network, "--model.architecture.auxiliary=false", *small]) == 0
    )
    assert "top1" in capsys.readouterr().out
    assert read_genotype(str(folder)) == genotype
    assert set(json.loads((folder / "genotype.json").read_text(encoding="utf-8"))["cells"]) == set(genotype.cells)
    assert len(genotype.cells["normal"]) == (8 if space == "DARTSWithoutSkip" else 16)
    if "WithoutSkip" in space:
        assert not any(genotype.count("skip_connect").values())


def test_the_size_of_a_reduced_network_is_said_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["-c", "digits_darts", "--model.space=DARTSSingleCell", "--model.layers=1", "--model.channels=4"]
    assert main(["verify", *given, "--only=bundles"]) == 0
    assert "DARTSSingleCell, 4 channels, 1 layer" in capsys.readouterr().out
