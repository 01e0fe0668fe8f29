"""Every YAML in ``configs/`` runs; a new one is tested by being there."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from made import picture, write_folders, write_parquet
from tables import check_each

from robustnas.cli import lightning_cli
from robustnas.runs.record import read_genotype, write_text
from robustnas.spaces import find_space

pytestmark = pytest.mark.usefixtures("few_samples", "no_pictures", "known_costs")

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.yaml"))
OVERLAYS = sorted((CONFIGS[0].parent / "spaces").glob("*.yaml"))
UNDER = {"s1": "cifar10_sparsemax_darts", "s2": "cifar10_smooth_darts", "s3": "cifar10_pc_darts", "s4": "cifar10_gdas"}
TINY = [
    "--trainer.max_epochs=1",
    "--trainer.max_steps=1",  # a selection may have epochs of its own
    "--trainer.limit_train_batches=1",
    "--trainer.limit_val_batches=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.accelerator=cpu",
    "--data.batch_size=4",
    "--data.eval_batch_size=8",  # where it is 4, one sample is left over
    "--seed_everything=0",
]
GENOTYPES = {
    "darts": "DARTS "
    + " | ".join(
        f"{kind}: 0-2 sep_conv_3x3, 1-2 skip_connect, 0-3 max_pool_3x3, 1-3 dil_conv_5x5, "
        "0-4 skip_connect, 2-4 sep_conv_5x5, 1-5 avg_pool_3x3, 3-5 dil_conv_3x3"
        for kind in ("normal", "reduce")
    ),
    "mobile": "Mobile chain: " + ", ".join(f"{k}-{k + 1} mbconv_3x3_3" for k in range(21)),
    "nasbench201": "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|",
}


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def smaller_model(config: dict[str, Any], folder: Path) -> list[str]:
    """Options that make the network of a configuration small."""
    model = config["model"]["init_args"]
    place = "--model.init_args"
    if "architecture" in model:
        place, model = f"{place}.architecture.init_args", model["architecture"]["init_args"]
        skeleton = "nasbench201" if "cells" in model else "darts" if "layers" in model else "mobile"
        write_text(folder / "genotype.json", read_genotype(GENOTYPES[skeleton]).to_json())
        options = [f"{place}.genotype={folder / 'genotype.json'}"]
    else:
        skeleton, options = find_space(model["space"]).skeleton, []
    if config["model"].get("class_path", "").endswith("RobustDARTS") and "stopping" not in model:
        options = ["--model.init_args.stopping=CurvatureRise", "--model.init_args.stopping.samples=4"]
    layers = 4 if config["model"].get("class_path", "").endswith("LambdaDARTS") else 3  # so that two cells are normal
    depth = {"nasbench201": [f"{place}.cells=1"], "darts": [f"{place}.layers={layers}"], "mobile": []}[skeleton]
    partial = model.get("connection", {}).get("init_args", {})
    ks = [partial.get("k", 1), *(k for _, k in partial.get("stages", []))]  # partial channels divide them
    return [*options, f"{place}.channels={math.lcm(4, *ks)}", *depth]


class Part:
    """As much of a ``datasets.Dataset`` as is used."""

    def __init__(self, image_column: str, count: int) -> None:
        self.columns = {
            image_column: [{"bytes": picture(i % 2, i), "path": None} for i in range(count)],
            "label": [i % 2 for i in range(count)],
        }
        self.features = {"label": SimpleNamespace(names=["dark", "bright"])}
        self.column_names = list(self.columns)

    def __getitem__(self, name: str) -> list[Any]:
        return self.columns[name]

    def cast_column(self, name: str, feature: object) -> Part:
        return self


def smaller_data(config: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options, and files, that stand in for the data of a configuration."""
    data = config.get("data", {"class_path": None})
    kind, arguments = str(data["class_path"]).rpartition(".")[2], data.get("init_args", {})
    if kind == "ParquetImages":
        return [f"--data.init_args.{name}={write_parquet(folder / f'{name}.parquet')}" for name in ("train", "test")]
    if kind == "ImageFolder":
        return [f"--data.init_args.root={write_folders(folder / 'images')}", "--data.init_args.image_size=8"]
    if kind == "HubImages":
        column = arguments["image_column"]
        parts = {"train": Part(column, 48), "test": Part(column, 8)}
        fake = SimpleNamespace(load_dataset=lambda *_, **__: parts, Image=lambda decode: None)
        monkeypatch.setitem(sys.modules, "datasets", fake)
        return []
    assert kind in ("Digits", "ClutteredDigits", "None"), f"a stand-in for {kind} is missing here"
    return ["--data=Digits"] if kind == "None" else []


# Of every data, skeleton and command one; the other methods run from YAML in `test_combinations` and `test_baselines`.
SAMPLED = (
    "digits_darts", "digits_darts_pt", "digits_mobile_gdas", "cifar10_darts", "hub_darts", "my_images", "collapse",
    "evaluate_darts", "evaluate_nasbench201",
)  # fmt: skip
SAMPLE = [path for path in CONFIGS if path.stem in SAMPLED]


def kinds(paths: list[Path]) -> set[str]:
    """Classes of data that configurations name, and the skeletons of their spaces."""
    found = set()
    for config in map(read, paths):
        found |= {config["data"]["class_path"]} if "data" in config else set()
        found |= {find_space(held["space"]).skeleton for held in [config["model"]["init_args"]] if "space" in held}
    return found


def test_the_sample_has_all_data_and_every_skeleton() -> None:
    assert [path.stem for path in SAMPLE] == sorted(SAMPLED)
    assert kinds(SAMPLE) == kinds(CONFIGS)


# With what the sample lacks: other spaces, stages, one path, phases of their own, and the other recipes.
BUILT = (
    "cifar10_mobile_gdas", "cifar10_nasbench201_drnas", "cifar10_s2_robust_darts_ada", "digits_lambda_darts",
    "digits_proxyless_nas", "digits_random_sharing", "evaluate_s1_s4", "quickstart_evaluation",
)  # fmt: skip


def test_the_configurations_outside_of_the_sample_are_understood() -> None:
    """Every option exists, and its value is of its type; the slow test below also builds what they name."""

    def check(path: Path) -> None:
        data = [] if "data" in read(path) else ["--data=Digits"]
        lightning_cli.main(["fit", "-c", str(path), *data], stop_after="parsing")

    check_each([path for path in CONFIGS if path not in SAMPLE and path.stem not in BUILT], check)


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["some", "all"])
def test_the_configurations_outside_of_the_sample_build_their_networks_and_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    """`-m slow` runs them."""

    def check(path: Path) -> None:
        config, folder = read(path), tmp_path / path.stem
        folder.mkdir()
        words = [*smaller_data(config, folder / "data", monkeypatch), *smaller_model(config, folder), *TINY]
        run = lightning_cli.main(["fit", "-c", str(path), *words], stop_after="instantiation")
        assert run.model.training_streams
        assert type(run.model).__name__ == config["model"]["class_path"].rpartition(".")[2]

    check_each([path for path in CONFIGS if path not in SAMPLE and (whole or path.stem in BUILT)], check)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=[] if path in SAMPLE else pytest.mark.slow) for path in CONFIGS],
)
def test_every_configuration_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read(path)
    data = smaller_data(config, tmp_path / "data", monkeypatch)
    run = lightning_cli.main(
        ["fit", "-c", str(path), *data, *smaller_model(config, tmp_path), *TINY, f"--run-dir={tmp_path / 'run'}"]
    )
    assert run.trainer.current_epoch == 1
    assert run.trainer.global_step == 1
    assert run.model.training_streams
    assert (tmp_path / "run" / "last.ckpt").is_file()
    searching = type(run.model).__name__ != "EvaluationModule"
    assert (tmp_path / "run" / "genotype.json").is_file() == searching
    assert "train/loss" in (tmp_path / "run" / "metrics.csv").read_text(encoding="utf-8").splitlines()[0]


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.stem)
def test_a_space_is_laid_over_a_search(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    under = path.parents[1] / f"{UNDER[path.stem]}.yaml"
    laid = {**read(under)["model"]["init_args"], **read(path)["model"]["init_args"]}
    config = {"model": {"init_args": laid}, "data": read(under)["data"]}
    words = [*smaller_data(config, tmp_path / "data", monkeypatch), *smaller_model(config, tmp_path), *TINY]
    run = lightning_cli.main(["fit", "-c", str(under), "-c", str(path), *words], stop_after="instantiation")
    assert run.model.space.name == path.stem.upper() == find_space(laid["space"]).name
    assert type(run.model).__name__ == read(under)["model"]["class_path"].rpartition(".")[2]
    assert run.model.genotype().space == path.stem.upper()
    parts = {name: value for name, value in laid.items() if isinstance(value, dict)}
    held = run.model.description["init_args"]
    for name, part in parts.items():  # what the overlay does not name stays
        assert part["init_args"].items() <= held[name]["init_args"].items()


def test_spaces_replace_what_every_search_names() -> None:
    """So that nothing of the space below shines through."""
    searches = [read(path)["model"]["init_args"] for path in CONFIGS if path.stem.startswith("cifar10_")]
    searches = [given for given in searches if find_space(given["space"]).skeleton == "darts"]
    assert len(searches) >= 7
    assert {path.stem for path in OVERLAYS} == set(UNDER)
    for path in OVERLAYS:
        assert list(read(path)) == ["model"]
        overlay = read(path)["model"]["init_args"]
        assert list(overlay) == ["space", "channels", "layers"]
        assert all(overlay.keys() <= given.keys() for given in searches)


def test_every_configuration_is_short_says_what_it_is_for_and_names_classes_in_full() -> None:
    """Import paths say where to look the options up."""

    def check(path: Path) -> None:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) <= 30
        assert lines[0].startswith("# ")
        assert len(lines[0].split()) >= 6
        assert all(len(line) <= 120 for line in lines)
        if path in CONFIGS:
            config = read(path)
            assert config["model"]["class_path"].startswith("robustnas.")
            assert config.get("data", {"class_path": "robustnas."})["class_path"].startswith("robustnas.")
            assert config["trainer"]["max_epochs"] >= 1

    check_each([*CONFIGS, *OVERLAYS], check)


def test_there_are_configurations() -> None:
    assert {"digits_darts", "my_images", "evaluate_darts", "evaluate_nasbench201"} <= {path.stem for path in CONFIGS}
