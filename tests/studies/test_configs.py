"""Protects the studies in ``configs/studies/``: each parses completely and is documented."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robustnas import variants
from robustnas.spaces import NASBench201, decode, find_space
from robustnas.studies.configuration import configured
from robustnas.studies.grid import trials_of
from robustnas.studies.results import higher_is_better
from robustnas.studies.study import read_study
from robustnas.studies.trial import Trial
from robustnas.tabular import Table

ROOT = Path(__file__).resolve().parents[2]
STUDIES = sorted((ROOT / "configs" / "studies").glob("*.yaml"))


@pytest.fixture(autouse=True)
def with_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory that has the table which studies of NAS-Bench-201 name."""
    columns = {name: np.array([54.3, 94.4], np.float32) for name in ("cifar10_test_200", "cifar10_valid_12")}
    (tmp_path / "data").mkdir()
    genotypes = [decode(number, NASBench201) for number in (0, 7)]
    Table.of(genotypes, columns, "t", NASBench201).write(tmp_path / "data" / "nas_bench_201.parquet")
    monkeypatch.chdir(tmp_path)


def trials(path: Path) -> list[Trial]:
    return [trial for trial in trials_of(read_study(str(path))) if trial.seed == 0]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_shipped_study_has_cells_and_is_documented(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= (46 if "nasbench201" in path.stem or "bench_suite" in path.stem else 30)  # all variants; benchmarks
    assert f"`{path.name}`" in (ROOT / "docs" / "guides" / "studies.md").read_text(encoding="utf-8")
    study = read_study(path.stem)
    assert study.name == path.stem.replace("_", "-")
    assert any(trial.baseline for trial in trials(path))
    all_variants = {*variants.__all__} - {"RandomSharing"}  # a baseline there
    assert {name.replace("-", "") for name in study.variants} == all_variants or "nasbench201" not in path.stem


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem == "digits_nasbench201" else pytest.mark.slow)
        for path in STUDIES
        if "nasbench201" in path.stem
    ],
)
def test_the_studies_of_all_variants_are_understood(path: Path) -> None:
    found = configured(trials(path))
    assert len({trial.fingerprint for trial in found}) == len(found)
    arguments = {trial.variant: trial.arguments for trial in found if trial.baseline}
    if path.stem == "digits_nasbench201":
        assert arguments["RandomSearch"] == {"evaluations": 4, "epochs": 5}
    if path.stem == "nasbench201_cifar10":  # the longest search is that of GDAS, and an answer stands for 12 epochs
        assert arguments["RandomSearch"] == {"evaluations": 250 // 12, "epochs": 12}
        assert arguments["RandomSharing"]["epochs"] == 250


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [path for path in STUDIES if "nasbench201" not in path.stem], ids=lambda path: path.stem
)
def test_the_other_studies_are_understood_too(path: Path) -> None:
    found = configured(trials(path))
    compared = [trial for trial in found if not trial.baseline]  # a baseline may be the same in two places
    assert len({trial.fingerprint for trial in compared}) == len(compared)


@pytest.mark.parametrize("name", ["darts_bench_suite", "darts_bench_suite_small"])
def test_the_bench_suite_is_the_protocol_of_its_paper(name: str) -> None:
    """Three sizes, each whole, without skips and with one more; the best of three seeds; nine settings."""
    study = read_study(name)
    sizes = ("wide", "deep", "single")
    assert list(study.spaces) == [f"{size}{kind}" for size in sizes for kind in ("", "-no-skip", "-auxiliary")]
    assert [place for place, given in study.spaces.items() if "model.init_args.connection" in given] == [
        f"{size}-auxiliary" for size in sizes
    ]
    spaces = {place: find_space(given["model.init_args.space"]) for place, given in study.spaces.items()}
    assert {place: "skip_connect" in space.operations for place, space in spaces.items()} == {
        place: "no-skip" not in place for place in spaces
    }
    if name == "darts_bench_suite":
        found = {
            (place.split("-")[0], given["model.init_args.channels"], given["model.init_args.layers"])
            for place, given in study.spaces.items()
        }
        assert found == {("wide", 18, 4), ("deep", 7, 18), ("single", 26, 1)}
    assert (study.seeds, study.choose) == ((0, 1, 2), "val/loss")
    assert study.evaluation is not None
    assert study.evaluation.same_size
    given = [
        (one["model.init_args.lr"], one["model.init_args.weight_decay"]) for one in study.evaluation.settings.values()
    ]
    assert given == [(lr, decay) for lr in (0.025, 0.1, 0.01) for decay in (1e-4, 3e-4, 1e-3)]


def test_the_scores_of_shipped_studies_point_the_right_way() -> None:
    scores = {name: higher_is_better(name) for name in ("test/top1", "truth/accuracy", "gap/accuracy", "truth/regret")}
    assert scores == {"test/top1": True, "truth/accuracy": True, "gap/accuracy": False, "truth/regret": False}
    assert higher_is_better("gap/discrete_accuracy")
