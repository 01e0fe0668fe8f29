"""The ranking of the supernet, against tables that are made for the purpose."""

from __future__ import annotations

import csv
import gzip
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from robustnas.diagnostics import SupernetRanking
from robustnas.diagnostics.ranking import quality
from runs import differing, digits, fit, rows, search, state
from scipy.stats import kendalltau

from robustnas.data import Probe
from robustnas.networks import DiscreteNetwork
from robustnas.networks.batchnorm_statistics import recalibrate
from robustnas.spaces import Genotype, NASBench201, SearchSpace, random_genotype

REAL = Path(__file__).resolve().parents[2] / "../shared/data/nas_bench_201.csv.gz"


def ready(space: str = "NASBench201", **options: Any) -> tuple[Any, Probe]:
    data = digits()
    data.setup("fit")
    module = search(space, channels=2, **options)
    module.train()
    return module, Probe(data, torch.device("cpu"))


def drawn(space: SearchSpace, count: int) -> list[Genotype]:
    """Different architectures of a space."""
    draw, found = random.Random(3), dict[Genotype, None]()
    while len(found) < count:
        found[random_genotype(space, draw)] = None
    return list(found)


def write(path: Path, found: list[tuple[str, Any]], names: tuple[str, str] = ("arch", "accuracy")) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") if path.suffix == ".gz" else path.open("w", encoding="utf-8") as file:
        csv.writer(file).writerows([("index", *names), *((k, *row) for k, row in enumerate(found))])
    return path


@pytest.mark.parametrize("sign", [1, -1])
def test_a_table_of_the_supernets_own_opinion_agrees_or_disagrees_entirely(tmp_path: Path, sign: int) -> None:
    module, probe = ready()
    table = [(one.to_nasbench201(), sign * quality(module, probe, one, 4)) for one in drawn(module.space, 10)]
    assert len({accuracy for _, accuracy in table}) > 4
    measure = SupernetRanking(write(tmp_path / "table.csv.gz", table), "accuracy", architectures=10, batches=4)
    assert measure.measure(module, probe) == {"ranking/tau": pytest.approx(sign)}


def test_between_them_it_is_that_of_the_pairs(tmp_path: Path) -> None:
    module, probe = ready()
    found = drawn(module.space, 8)
    table = write(tmp_path / "table.csv", [(one.to_nasbench201(), k) for k, one in enumerate(found)])
    values = SupernetRanking(table, "accuracy", architectures=8, batches=1).measure(module, probe)
    own = [quality(module, probe, one, 1) for one in found]
    assert values == {"ranking/tau": pytest.approx(kendalltau(own, range(8)).statistic)}
    assert -1 < values["ranking/tau"] < 1


def test_the_opinion_is_the_accuracy_of_the_discrete_network_with_the_same_weights() -> None:
    module, probe = ready()
    genotype = drawn(module.space, 1)[0]
    discrete = DiscreteNetwork("NASBench201", genotype, channels=2, cells=1, num_classes=10, image_channels=1)
    discrete.load_edgewise_state_dict(module.supernet.edgewise_state_dict(), strict=False)
    recalibrate(discrete, lambda batch: discrete(batch.images), probe.batches("weights", 2))
    discrete.eval()
    batches = probe.batches("selection", 2)
    with torch.no_grad():
        right = sum(int((discrete(batch.images).argmax(1) == batch.targets).sum()) for batch in batches)
    assert quality(module, probe, genotype, 2) == pytest.approx(right / sum(len(batch.targets) for batch in batches))


@pytest.mark.parametrize("form", [str, Genotype.to_json], ids=["line", "JSON"])
def test_architectures_of_other_spaces_are_read(tmp_path: Path, form: Callable[[Genotype], str]) -> None:
    module, probe = ready("S2")
    found = drawn(module.space, 3)
    table = write(tmp_path / "mine.csv", [(form(one), k) for k, one in enumerate(found)], ("cells", "score"))
    measure = SupernetRanking(table, "score", "cells", architectures=3, batches=1)
    assert sorted(measure.sample, key=lambda one: one.accuracy) == list(zip(found, range(3), strict=True))
    assert set(measure.measure(module, probe)) <= {"ranking/tau"}


def test_the_sample_follows_the_seed_and_leaves_out_what_is_not_known(tmp_path: Path) -> None:
    found = [one.to_nasbench201() for one in drawn(NASBench201, 12)]
    gaps: list[Any] = ["", "nan", "?", *range(9)]
    table = write(tmp_path / "table.csv", list(zip(found, gaps, strict=True)))
    samples = [SupernetRanking(table, "accuracy", architectures=5, seed=seed).sample for seed in (0, 0, 1)]
    assert samples[0] == samples[1] != samples[2]
    sample = SupernetRanking(table, "accuracy", architectures=9).sample
    assert {genotype.to_nasbench201() for genotype, _ in sample} == set(found[3:])
    with pytest.raises(ValueError, match="at least 10 architectures with a number in 'accuracy', but got 9"):
        SupernetRanking(table, "accuracy", architectures=10)


def test_where_all_are_equal_there_is_no_rank(tmp_path: Path) -> None:
    module, probe = ready()
    table = write(tmp_path / "table.csv", [(one.to_nasbench201(), 90.0) for one in drawn(module.space, 3)])
    assert SupernetRanking(table, "accuracy", architectures=3, batches=1).measure(module, probe) == {}


def test_a_search_is_ranked_and_not_touched(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", [(one.to_nasbench201(), k) for k, one in enumerate(drawn(NASBench201, 4))])
    alone = fit(tmp_path / "alone", max_epochs=2)
    measure = SupernetRanking(table, "accuracy", architectures=4, batches=1, budget=None)
    watched = fit(tmp_path / "watched", max_epochs=2, callbacks=[measure])
    assert differing(state(watched), state(alone)) == []
    assert all(-1 <= row["ranking/tau"] <= 1 for row in rows(watched))


def test_a_table_of_another_space_is_refused_before_training(tmp_path: Path) -> None:
    table = write(tmp_path / "t.csv", [(one.to_nasbench201(), k) for k, one in enumerate(drawn(NASBench201, 2))])
    measure = SupernetRanking(table, "accuracy", architectures=2)
    with pytest.raises(ValueError, match=r"Expected .*t\.csv to hold architectures of S2, but got those of NASBe"):
        fit(tmp_path, search("S2"), max_epochs=1, callbacks=[measure])
    assert not (tmp_path / "metrics.csv").exists()


def test_tables_that_are_none(tmp_path: Path) -> None:
    (cell,) = drawn(NASBench201, 1)
    table = write(tmp_path / "t.csv", [(cell.to_nasbench201(), 1.0)])
    with pytest.raises(ValueError, match=r"to have the column 'top1', but got \['accuracy'\]"):
        SupernetRanking(table, "top1")
    with pytest.raises(ValueError, match="to have the column 'genotype', but got"):
        SupernetRanking(table, "accuracy", "genotype")
    with pytest.raises(ValueError, match=r"Expected .*none\.csv to be a file that can be read, but got no such file"):
        SupernetRanking(tmp_path / "none.csv", "accuracy")
    (tmp_path / "none.csv.gz").write_bytes(b"no gzip")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(table.read_bytes())[:-12])
    (tmp_path / "empty.csv").touch()
    (tmp_path / "image.csv").write_bytes(b"\xff\xd8\x00")
    for name, says in (
        ("none.csv.gz", "a complete gzip file"),
        ("cut.csv.gz", "a complete gzip"),
        ("image.csv", "text in UTF-8"),
    ):
        with pytest.raises(ValueError, match=rf"^Expected .*{name} to be {says}"):
            SupernetRanking(tmp_path / name, "accuracy")
    with pytest.raises(ValueError, match=r"to have the column 'arch', but got \[\]"):
        SupernetRanking(tmp_path / "empty.csv", "accuracy")
    for option in ({"architectures": 1}, {"batches": 0}):
        with pytest.raises(ValueError, match=f"Expected `{next(iter(option))}` to be at least"):
            SupernetRanking(table, "accuracy", **option)


@pytest.mark.slow
def test_the_benchmarks_own_table_is_read() -> None:
    if not REAL.is_file():
        pytest.skip("no benchmark table: nas_bench_201.csv.gz is not in ../shared/data")
    known = SupernetRanking(REAL, "cifar10_valid_12", architectures=50).sample
    assert len({one.genotype for one in known}) == 50
    assert all(5 < one.accuracy < 95 for one in known)
