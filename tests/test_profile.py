"""``robustnas profile``, from its words to the table, and the search that reads it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random

import pytest
from tables import check_each

from robustnas.__main__ import main
from robustnas.cost import Profiler, read_table
from robustnas.runs.record import Run
from robustnas.spaces import NASBench201, random_genotype

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures")

CONFIG = """model:
  class_path: DARTS
  init_args:
    space: NASBench201
    channels: 4
    cells: 1
data: Digits
trainer:
  max_epochs: 1
"""
TINY = ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1", "--trainer.enable_progress_bar=false"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "search.yaml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


def test_a_table_is_written_printed_and_read_by_a_search(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    penalty = [f"--model.penalty.{option}" for option in ("table=costs.json", "reference=2e4", "measure=flops")]
    search = ["-c", "search.yaml", "--model.penalty=ExpectedCost", *penalty]
    assert main(["profile", *search, "--device=cpu", "--batch=4", "--repeats=1"]) == 0  # the table is not there yet
    data = json.loads((place / "costs.json").read_text(encoding="utf-8"))
    table = read_table("costs.json")
    table.check(NASBench201, "latency")
    counted = Profiler("NASBench201", (1, 8, 8), channels=4, cells=1).table()
    for measure in ("parameters", "flops"):
        assert table.kinds["cell"][measure] == counted.kinds["cell"][measure]
        assert table.rest[measure] == counted.rest[measure]
    assert all(row[0] == 0 and all(cost > 0 for cost in row[2:]) for row in table.kinds["cell"]["latency"])
    about = data["about"]
    assert (data["device"], about["batch"], about["image_shape"], about["threads"]) == ("cpu", 4, [1, 8, 8], 1)
    assert {"python", "torch", "robustnas"} <= set(data["versions"])
    assert set(data["units"]) == {"parameters", "flops", "memory_access", "latency"}
    said = capsys.readouterr().out
    assert re.search(r"0-1 +│ +0 │ +0 │ +392 │ +3,080 │ +0 ", said)
    assert "flops, in multiply-adds for an image" in said
    assert not (place / "runs").exists()
    assert main(["fit", *search, *TINY, "--run-dir=run"]) == 0
    assert (place / "run" / "genotype.json").is_file()


def test_options_of_the_search_may_follow(place: Path) -> None:
    words = ["profile", "-c", "search.yaml", "--measure", "parameters", "--out=folder/small.json", "--device=cpu"]
    (place / "wider.yaml").write_text("model: {init_args: {channels: 9}}\n", encoding="utf-8")
    (place / "smaller.yaml").write_text("model: {init_args: {channels: 2}}\n", encoding="utf-8")
    assert main([*words, "-c", "wider.yaml", "-c", "smaller.yaml", "--model.cells=2"]) == 0
    expected = Profiler("NASBench201", channels=2, cells=2).table(["parameters"])
    assert read_table("folder/small.json").kinds == expected.kinds
    assert not (place / "costs.json").exists()


def test_predictions_are_compared_with_whole_networks(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["profile", "-c", "search.yaml", "--measure=latency", "--device=cpu", "--batch=2", "--repeats=1"]
    assert main([*words, "--check=2"]) == 0
    said = re.findall(
        r"Whole network: ([\d.]+) ms predicted, ([\d.]+) ms measured \(([+-][\d.]+)%\)", capsys.readouterr().out
    )
    table, space = read_table("costs.json"), NASBench201
    drawn = [random_genotype(space, Random(seed)) for seed in range(2)]
    assert [row[0] for row in said] == [f"{table.cost(genotype, 'latency', space):.3f}" for genotype in drawn]
    for predicted, measured, away in said:
        assert float(measured) > 0
        assert float(away) == pytest.approx(100 * (float(predicted) / float(measured) - 1), abs=1.0)


WRONG: dict[str, tuple[list[str], str]] = {
    "unknown measure": (
        ["--measure", "time"],
        "Expected `measures` to be among ['parameters', 'flops', 'memory_access', ",
    ),
    "no batch": (
        ["--batch=0"],
        "Expected `--batch` to be from 1 to 65,536, but got 0.",
    ),
    "no threads": (["--threads=0"], "Expected `--threads` to be from 1 to 1,024, but got 0."),
    "too many checks": (["--check=1001"], "Expected `--check` to be from 0 to 1,000, but got 1,001."),
    "nothing to check": (
        ["--measure=flops", "--check=1"],
        "Expected `latency` to be among `--measure` with `--check`, but got ['flops'].",
    ),
    "unknown device": (["--device=abacus"], "Expected `--device` to be one that torch can use, but got 'abacus': "),
    "missing device": (["--device=cuda:99"], "Expected `--device` to be one that torch can use, but got 'cuda:99': "),
    "missing configuration": (
        ["-c", "none.yaml"],
        "Expected `--config` to be a YAML file or the name of one that comes with robustnas, but got 'none.yaml': ",
    ),
    "misspelt option": (["--mesure=flops"], "Expected an option of the command, but got `"),
    "misspelt option of the model": (
        ["--model.chanels=2"],
        "Expected an option of DARTS, but got `chanels`; did you mean `channels`?",
    ),
    "an evaluation": (["-c", "evaluation.yaml"], "Expected `model` to be a search, but got EvaluationModule."),
    "a table that cannot be written": (
        ["--measure=parameters", "--out=search.yaml/costs.json"],
        "Expected to read or write ",
    ),
}


def test_wrong_input_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def check(case: str) -> None:
        words, beginning = WRONG[case]
        evaluation = "model:\n  class_path: EvaluationModule\n  init_args:\n    architecture: ResNet\ndata: Digits\n"
        (place / "evaluation.yaml").write_text(evaluation, encoding="utf-8")
        config = [] if "-c" in words else ["-c", "search.yaml"]
        assert main(["profile", *config, *words]) in (1, 2)
        caught = capsys.readouterr()
        (line,) = [line for line in caught.err.splitlines() if line.strip()]
        assert line.startswith(f"robustnas: {beginning}"), line
        assert not (place / "costs.json").exists()
        assert not (place / "runs").exists()

    check_each(WRONG, check)


def test_an_expected_cost_without_its_table_is_refused_before_the_folder_is_made(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    penalty = ["--model.penalty=ExpectedCost", "--model.penalty.table=none.json", "--model.penalty.reference=80"]
    assert main(["fit", "-c", "search.yaml", *penalty, *TINY]) == 1
    assert "Expected none.json to be a cost table that `robustnas profile` wrote, but" in capsys.readouterr().err
    assert not (place / "runs").exists()


def test_a_selection_within_a_target_is_made_with_a_search_or_after_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = "    selection: {class_path: WithinTarget, init_args: {table: costs.json, target: 3.5e+4, measure: flops}}"
    (place / "within.yaml").write_text(CONFIG.replace("data:", f"{part}\ndata:"), encoding="utf-8")
    search = ["-c", "within.yaml"]
    assert main(["fit", *search, *TINY]) == 1
    assert "Expected costs.json to be a cost table that `robustnas profile` wrote, but" in capsys.readouterr().err
    assert not (place / "runs").exists()
    assert main(["profile", *search, "--measure=flops"]) == 0  # the table is not there yet
    assert main(["fit", *search, *TINY, "--run-dir=run"]) == 0
    found, low = Run(place / "run").genotype(), read_table("costs.json").rest["flops"]
    assert low <= read_table("costs.json").cost(found, "flops") <= 3.5e4
    capsys.readouterr()
    options = [f"--selection.{option}" for option in ("table=costs.json", "target=3.5e4", "measure=flops")]
    assert main(["select", "run", "--selection", "WithinTarget", *options]) == 0
    assert Run(place / "run" / "withintarget").genotype() == found
    assert "Cost: flops of the genotype " in capsys.readouterr().out
    for words, says in (
        (["--selection", "WithinTarget"], "Expected "),
        (["--compare", *options], "Expected an option of BestOfSampled, but got `table`"),
    ):
        assert main(["select", "run", *words]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert line.startswith(f"robustnas: {says}")
