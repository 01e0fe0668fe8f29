"""Paths with ``~`` and variables, and configurations that are found by their names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from refusals import GENOTYPE, said

from robustnas.cli import lightning_cli
from robustnas.cli.configuration import configuration
from robustnas.cli.errors import CommandLineError, checked
from robustnas.data import ImageFolder, ParquetImages
from robustnas.runs.record import read_genotype
from robustnas.runtime.paths import expand, find_config, shipped_config
from robustnas.runtime.trust import is_trusted, trusting
from robustnas.studies.study import read_study
from robustnas.tabular import read_columns


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home folder, which the variable PICTURES names too; the working directory is another one."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setenv("PICTURES", str(tmp_path / "home"))
    monkeypatch.delenv("NOWHERE", raising=False)
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


@pytest.mark.parametrize("given", ["", None, 3, b"x", ["x"]])
def test_what_is_no_path_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"^Expected `root` to be a path, but got "):
        expand(given, "root")


@pytest.mark.parametrize("text", ["~/x/y", "$PICTURES/x/y", "${PICTURES}/x/y"])
def test_home_and_variables_are_replaced(home: Path, text: str) -> None:
    assert expand(text, "root") == home / "x/y"
    assert expand(Path(text), "root") == home / "x/y"


@pytest.mark.parametrize("text", ["x/y", "x~y", "5$ x", "./~/x"])
def test_other_paths_stay_as_they_are(text: str) -> None:
    assert expand(text, "root") == Path(text)


def test_what_is_not_there_is_refused_by_name(home: Path) -> None:
    with pytest.raises(
        ValueError, match=r"`root` to be a path whose environment variables .* 'a/\$NOWHERE/b', and NOW"
    ):
        expand("a/$NOWHERE/b", "root")
    with pytest.raises(
        ValueError, match="home folder of a user, but got '~nobody-at-all/x', and there is no ~nobody-at-all"
    ):
        expand("~nobody-at-all/x", "root")


def test_a_name_that_holds_a_sign_itself_is_left_alone(home: Path) -> None:
    Path("a$NOWHERE").mkdir()
    assert expand("a$NOWHERE", "root") == Path("a$NOWHERE")


def test_data_modules_expand_their_paths(home: Path) -> None:
    folder = ImageFolder("~/a", labels="$PICTURES/b.csv", cache_dir="${PICTURES}/c")
    assert (folder.root, folder.labels, folder.cache_dir) == (home / "a", home / "b.csv", home / "c")
    assert folder.source == f"ImageFolder({home / 'a'})"
    table = ParquetImages("~/a", "~/b", val="~/c", cache_dir="~/d")
    paths = (table.train_path, table.test_path, table.val_path, table.cache_dir)
    assert paths == tuple(home / name for name in "abcd")


def test_genotypes_tables_and_studies_are_found(home: Path) -> None:
    genotype = read_genotype(GENOTYPE)
    (home / "g.json").write_text(genotype.to_json())
    assert read_genotype("~/g.json") == genotype
    (home / "t.csv").write_text(f"arch,top1\n{GENOTYPE},90\n")
    assert read_columns("$PICTURES/t.csv")[0] == [GENOTYPE]
    (home / "c.yaml").write_text("model: DARTS\n")
    study = {"variants": {"one": "~/c.yaml", "two": "my_images"}, "table": "$PICTURES/t.csv"}
    (home / "study.yaml").write_text(json.dumps(study))
    read = read_study("~/study.yaml")
    assert read.variants["one"].configs == (str(home / "c.yaml"),)
    assert read.table is not None
    assert read.table.file == str(home / "t.csv")


@pytest.mark.parametrize(
    ("words", "beginning"),
    [
        (["report", "$NOWHERE/run"], "Expected `RUN` to be a path whose environment variables are set, but got '$NOW"),
        (
            ["evaluate", "run", "--run-dir=$NOWHERE/x"],
            "Expected `--run-dir` to be a path whose environment variables are set",
        ),
        (["draw", "$NOWHERE/g.json"], "Expected `genotype` to be a path whose environment variables are set, but got"),
        (["fit", "-c", "$NOWHERE/c.yaml"], "Expected `--config` to be a path whose environment variables are set, but"),
        (["tune", "$NOWHERE/t.yaml"], "Expected `TUNING` to be a path whose environment variables are set, but got '"),
        (["ablate", "$NOWHERE/s.yaml"], "Expected `STUDY` to be a path whose environment variables are set, but got '"),
        (["fit", "--model=DARTS", "--data=ImageFolder", "--data.root=$NOWHERE/x"], "Expected `root` to be a path whos"),
        (
            ["fit", "--model=DARTS", "--data=Digits", "--run-dir=$NOWHERE/x"],
            "Expected `--run-dir` to be a path whose environm",
        ),
    ],
)
def test_commands_name_a_variable_that_is_not_set(
    home: Path, words: list[str], beginning: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence = said(words, capsys)
    assert sentence.startswith(beginning), sentence
    assert "NOWHERE is not set" in sentence
    assert list(Path().iterdir()) == []


def test_the_folder_of_a_run_is_expanded_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lightning_cli.RobustCLI, "_run_subcommand", lambda self, name: None)
    words = ["--model=DARTS", "--data=Digits", "--run-dir=~/run", "--trainer.accelerator=cpu"]
    assert lightning_cli.main(["fit", *words]).folder == home / "run"
    (home / "old").mkdir()
    torch.save({}, home / "old/last.ckpt")
    again = lightning_cli.main(["fit", *words, "--ckpt_path=$PICTURES/old/last.ckpt"])
    assert again.checkpoint == home / "old/last.ckpt"
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("name", ["my_images.yaml", "my_images", "configs/my_images.yaml"])
def test_a_configuration_of_the_package_is_found_by_name(home: Path, name: str) -> None:
    found: Any = configuration(["-c", name])
    assert found["data"]["class_path"].endswith("ImageFolder")
    assert configuration([f"--config={name}"]) == configuration([f"-c={name}"]) == found


def test_the_name_of_a_configuration_is_no_module_to_trust(home: Path) -> None:
    with trusting(["fit", "--model.space", "S2", "-c", "my_images.yaml"]):
        assert not is_trusted("my_images.SPACE")


def test_a_configuration_in_a_folder_of_the_package_is_found(home: Path) -> None:
    assert find_config("spaces/s2.yaml") == shipped_config("s2", "spaces") == find_config("spaces/s2")
    assert configuration(["-c", "digits_darts", "-c", "spaces/s2.yaml"])["model"]["init_args"]["space"] == "S2"


def test_a_file_comes_before_a_configuration_of_the_package(home: Path) -> None:
    Path("my_images.yaml").write_text("model: DARTS\ndata: Digits\n")
    assert find_config("my_images.yaml") == Path("my_images.yaml")
    assert find_config("my_images") != Path("my_images.yaml")
    assert checked(["fit", "-c", "my_images.yaml", "--x", "1"]) == ["fit", "-c", "my_images.yaml", "--x", "1"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("my_image.yaml", "got 'my_image.yaml': there is no such file; did you mean my_images.yaml?"),
        ("spaces/s9.yaml", "there is no such file; did you mean spaces/s"),
        ("mine", "there is no such file; did you mean mined.yaml?"),
        ("qqqqqq.yaml", "there is no such file."),
        ("folder", "got 'folder': a folder"),
        ("../my_images.yaml", "there is no such file"),
    ],
)
def test_a_missing_configuration_is_named_with_those_of_close_names(home: Path, name: str, says: str) -> None:
    Path("folder").mkdir()
    Path("mined.yaml").write_text("")
    with pytest.raises(
        CommandLineError, match="Expected `--config` to be a YAML file or the name of one that"
    ) as caught:
        checked(["fit", "-c", name])
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("{a: [}", "Expected `--config` to be YAML, but got text that fails: while parsing"),
        ("{model: DARTS, data: Digits, trainer: 3}", "Expected `trainer` to be options with their values, but got 3."),
        ("", "Expected `--config` to be a YAML file of options with their values, but got ''."),
    ],
)
def test_yaml_itself_may_be_given_in_place_of_a_file(
    home: Path, text: str, beginning: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(["fit", "-c", text], capsys).startswith(beginning)


@pytest.mark.parametrize("command", ["evaluate", "profile", "verify"])
def test_other_commands_find_configurations_the_same_way(
    home: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("run").mkdir()
    Path("run/genotype.json").write_text(read_genotype(GENOTYPE).to_json())
    sections = {
        "model": {"class_path": "DARTS", "init_args": {"space": "NASBench201"}},
        "data": {"class_path": "Digits"},
    }
    Path("run/config.yaml").write_text(json.dumps(sections))
    words = [command, *(["run"] if command == "evaluate" else [])]
    sentence = said([*words, "-c", "my_image"], capsys)
    assert "there is no such file; did you mean my_images.yaml?" in sentence
    sentence = said(
        [*words, "-c", "my_images" if command != "evaluate" else "evaluate_nasbench201", "--nothing=3"], capsys
    )
    assert "nothing" in sentence
