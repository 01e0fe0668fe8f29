"""The true accuracy of genotypes, from tables made for the purpose."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from robustnas.diagnostics import Diagnostics, TrueAccuracy
from runs import differing, fit, rows, search, state

from robustnas.cli import lightning_cli
from robustnas.data import ClutteredDigits
from robustnas.runs.record import Run
from robustnas.spaces import S2, Genotype, NASBench201, NASBench201SkipConv, decode, encode, random_genotype
from robustnas.tabular import Table, embedded
from robustnas.training.recorder import RunRecorder

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs")


def write(path: Path, numbers: Any = range(15625), space: Any = NASBench201) -> Path:
    """A table in which the accuracy of an architecture is a hundredth of its number."""
    genotypes = [decode(number, space) for number in numbers]
    accuracies = {"top1": np.float32([number / 100 for number in numbers])}
    Table.of(genotypes, accuracies, "made", space).write(path)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("table") / "all.parquet")


def test_accuracy_regret_and_rank_of_the_genotype(whole: Path) -> None:
    measure, module = TrueAccuracy(whole, "top1"), search()
    number = encode(module.genotype(), NASBench201)
    expected = {"accuracy": number / 100, "regret": (15624 - number) / 100, "rank": 15625 - number}
    values = measure.measure(module, None)  # type: ignore[arg-type]  # it looks at no samples
    assert values == {f"truth/{name}": pytest.approx(value, abs=1e-4) for name, value in expected.items()}
    assert measure.look_up(module.genotype())["of"] == 15625


def test_a_search_is_looked_up_every_epoch_and_at_its_end_and_not_touched(tmp_path: Path, whole: Path) -> None:
    alone = fit(tmp_path / "alone", search(arch_lr=0.5), max_epochs=3)
    measures = [TrueAccuracy(whole, "top1"), RunRecorder()]
    watched = fit(tmp_path / "watched", search(arch_lr=0.5), max_epochs=3, callbacks=measures)
    assert differing(state(watched), state(alone)) == []
    table, run = Table.read(whole), Run(tmp_path / "watched")
    found = [run.genotype(epoch) for epoch in range(3)]
    assert len(set(found)) > 1
    for row, genotype in zip(rows(watched), found, strict=True):
        assert row["truth/accuracy"] == pytest.approx(table.accuracy(genotype, "top1"), rel=1e-5)
        assert row["truth/rank"] == table.rank(genotype, "top1").place
    final = json.loads((tmp_path / "watched" / "truth.json").read_text(encoding="utf-8"))
    assert final["genotype"] == str(run.genotype())
    assert final["accuracy"] == table.accuracy(run.genotype(), "top1")
    assert final["accuracy"] + final["regret"] == pytest.approx(final["best"])
    assert (final["of"], final["best"]) == (15625, pytest.approx(156.24, abs=1e-4))
    assert final["mean"] == pytest.approx(78.12, abs=1e-3)


def test_a_table_that_lacks_the_genotype_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = write(tmp_path / "few.csv", range(0, 15625, 3000))
    module = search()
    assert module.genotype() not in Table.read(table)
    running = fit(tmp_path / "run", module, max_epochs=2, callbacks=[TrueAccuracy(table, "top1")])
    said = [record.getMessage() for record in caplog.records if "does not know" in record.getMessage()]
    assert len(said) == 1
    assert not [name for name in running.callback_metrics if name.startswith("truth/")]
    assert "accuracy" not in json.loads((tmp_path / "run" / "truth.json").read_text(encoding="utf-8"))


def test_a_table_of_another_space_is_refused_before_training(tmp_path: Path) -> None:
    draw = random.Random(0)
    Table.of([random_genotype(S2, draw)], {"top1": np.float32([1])}, "made", S2).write(tmp_path / "s2.csv")
    with pytest.raises(ValueError, match=r"s2\.csv to hold architectures of NASBench201, but got those of S2\.$"):
        fit(tmp_path / "run", max_epochs=1, callbacks=[TrueAccuracy(tmp_path / "s2.csv", "top1")])
    assert not (tmp_path / "run").exists()


def test_that_the_embedded_table_is_of_other_data_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fit(tmp_path, max_epochs=1, callbacks=[TrueAccuracy("digits")])
    assert sum("True accuracies are those on ClutteredDigits, but this" in text for text in caplog.messages) == 1
    assert embedded.is_task(ClutteredDigits(drawings=1).source)
    assert not embedded.is_task(ClutteredDigits(task_seed=1).source)


def test_the_column_of_a_table_with_several_is_named_or_that_of_the_published_ones(tmp_path: Path) -> None:
    cell = random_genotype(NASBench201, random.Random(0))
    one, two = {"top1": np.float32([1])}, {"top1": np.float32([1]), "top5": np.float32([2])}
    for name, columns in (("one", one), ("two", two)):
        Table.of([cell], columns, "made", NASBench201).write(tmp_path / f"{name}.csv")
    assert TrueAccuracy(tmp_path / "one.csv").accuracy == "top1"
    assert TrueAccuracy(tmp_path / "two.csv", "top5").look_up(cell)["accuracy"] == 2
    with pytest.raises(ValueError, match=r"two\.csv to have the column 'cifar10_test_200', but got \['top1', 'top5'\]"):
        TrueAccuracy(tmp_path / "two.csv")


def test_a_search_in_a_part_of_the_space_is_compared_with_that_part(tmp_path: Path) -> None:
    (all_skip, other) = (decode(number, NASBench201) for number in (3906, 0))
    table = Table.of([all_skip, other], {"top1": np.float32([60, 90])}, "made", NASBench201)
    table.write(tmp_path / "t.csv")
    measure = TrueAccuracy(tmp_path / "t.csv")
    measure.compare_within(NASBench201SkipConv)
    found = measure.look_up(Genotype(NASBench201SkipConv.name, all_skip.cells))
    assert found == {"accuracy": 60, "regret": 0, "rank": 1, "of": 1}


def test_one_option_adds_all_that_a_table_tells(tmp_path: Path, whole: Path) -> None:
    words = ["fit", "--model=DARTS", "--model.space=NASBench201", "--model.cells=1", "--model.channels=2"]
    words += ["--data=Digits", "--data.batch_size=16", "--data.fractions=[0.06, 0.04, 0.04]", "--trainer.max_epochs=1"]
    words += ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu", "--diagnostics.measures=[]"]
    words += ["--diagnostics.budget=null", f"--diagnostics.table={whole}", "--diagnostics.accuracy=top1"]
    lightning_cli.main([*words, f"--run-dir={tmp_path / 'run'}"])
    names = (tmp_path / "run" / "metrics.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert {"truth/accuracy", "truth/regret", "truth/rank", "ranking/tau"} <= set(names)
    watched = Run(tmp_path / "run").manifest["watched"][0]["measures"]
    assert [one["measure"] for one in watched] == ["TrueAccuracy", "SupernetRanking"]
    assert watched[0]["source"] == str(whole)
    assert [
        one.name for one in Diagnostics([], table=write(tmp_path / "few.csv", range(5)), accuracy="top1").measures
    ] == ["TrueAccuracy"]
