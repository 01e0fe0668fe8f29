"""Protects the file of a study: the trials that it means, and the sentence for each mistake in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tables import check_each

from robustnas.studies.configuration import arguments_of
from robustnas.studies.grid import select_trials, trials_of
from robustnas.studies.study import Study, read_study
from robustnas.studies.trial import EvaluationRecipe, Recipe, Trial

ONE = {"A": {"options": {"model.init_args.lr": 0.1}}}


def write(folder: Path, held: Any) -> str:
    path = folder / "study.yaml"
    path.write_text(held if isinstance(held, str) else yaml.safe_dump(held, sort_keys=False), encoding="utf-8")
    return str(path)


def study(folder: Path, **held: Any) -> Study:
    return read_study(write(folder, {"variants": ONE, "baselines": [], **held}))


def folders(trials: list[Trial]) -> list[str]:
    return [trial.folder.removeprefix("trials/") for trial in trials]


def test_a_grid_has_every_combination(tmp_path: Path) -> None:
    held = study(
        tmp_path,
        variants={"A": {"options": {"model": {"init_args": {"lr": 0.1, "clip": 1}}}}, "B": {"config": "digits_gdas"}},
        spaces={"S1": {"model.init_args.space": "S1"}, "S2": {"model.init_args.space": "S2"}},
        data={"digits": {"data.init_args.batch_size": 8}},
        overrides={"lr": {"low": {"model.init_args.lr": 0.01}, "high": {"model.init_args.lr": 1.0}}, "wd": {0: None}},
        ablation_factors={"drop": {"model.init_args.drop_path": 0.2}},
        common={"model.init_args.clip": 5, "trainer.max_epochs": 3},
        seeds=[4, 2],
        baselines=["Random"],
        evaluation={"config": "evaluate_nasbench201", "options": {"trainer.max_epochs": 7}},
        published={"A": {"mean": 54.3, "std": 0, "metric": "top1", "source": "a paper"}},
    )
    assert held.published == {"A": {"mean": 54.3, "std": 0, "metric": "top1", "source": "a paper"}}
    trials = trials_of(held)
    wanted = set()
    for seed in (4, 2):
        for space in ("S1", "S2"):
            wanted.add(f"Random/{space}/digits/seed-{seed}")
            for variant in "AB":
                for lr in ("low", "high"):
                    for drop in ("on", "off"):
                        wanted.add(f"{variant}/{space}/digits/lr={lr}/wd=0/drop={drop}/seed-{seed}")
    assert set(folders(trials)) == wanted
    assert len(trials) == len(wanted) == 2 * 2 * (2 * 2 * 2 + 1)
    assert [trial.seed for trial in trials] == [4] * 18 + [2] * 18  # all of one seed before any of the next
    trial = next(trial for trial in trials if trial.group == "A/S2/digits/lr=low/wd=0/drop=on")
    assert trial.search_recipe.options == {  # the more special over the more general
        "model.init_args.clip": 1, "trainer.max_epochs": 3, "model.init_args.space": "S2",
        "data.init_args.batch_size": 8, "model.init_args.lr": 0.01, "model.init_args.drop_path": 0.2,
    }  # fmt: skip
    assert (trial.levels, trial.baseline) == ({"lr": "low", "wd": "0", "drop": "on"}, False)
    assert trial.evaluation_recipe is not None
    assert trial.evaluation_recipe.configs[0].endswith("configs/evaluate_nasbench201.yaml")
    assert trial.evaluation_recipe.options == {"trainer.max_epochs": 7}
    random = next(trial for trial in trials if trial.baseline)
    assert random.levels == {}
    assert "model.init_args.lr" not in random.search_recipe.options


@pytest.mark.parametrize(
    ("design", "on"),
    [
        ("leave_one_out", ["abc", "bc", "ac", "ab"]),
        ("add_one", ["", "a", "b", "c"]),
        ("grid", ["", "a", "b", "c", "ab", "ac", "bc", "abc"]),
    ],
)
def test_designs_switch_ablation_factors(design: str, on: list[str], tmp_path: Path) -> None:
    parts = {name: {f"model.init_args.{name}": 1} for name in "abc"}
    trials = trials_of(study(tmp_path, ablation_factors=parts, design=design, seeds=[0]))
    assert sorted("".join(n for n, level in trial.levels.items() if level == "on") for trial in trials) == sorted(on)
    for trial in trials:
        for name in "abc":
            assert (f"model.init_args.{name}" in trial.search_recipe.options) == (trial.levels[name] == "on")
    assert len(set(folders(trials))) == len(on)


def test_three_seeds_and_the_recipe_of_the_space_are_the_default(tmp_path: Path) -> None:
    trials = trials_of(study(tmp_path))
    assert folders(trials) == ["A/seed-0", "A/seed-1", "A/seed-2"]
    assert trials[0].evaluation_recipe == EvaluationRecipe()
    assert trials_of(study(tmp_path, evaluation=None))[0].evaluation_recipe is None


def test_shipped_studies_are_found_by_name() -> None:
    trials = trials_of(read_study("digits_nasbench201"))
    assert len({trial.variant for trial in trials if not trial.baseline}) == 17
    assert {trial.seed for trial in trials} == {0, 1, 2}


def test_options_are_parsed_with_a_class_before_its_arguments() -> None:
    rows = [("Softmax", "Softmax"), (None, "null"), (True, "true"), (3e-4, "0.0003"), ([1, 2], "[1, 2]"),
     ({"class_path": "A"}, '{"class_path": "A"}'), (float("inf"), "inf")]  # fmt: skip

    def check(row: tuple[Any, str]) -> None:
        value, text = row
        recipe = Recipe(("a.yaml", "b.yaml"), {"x.init_args.y": value, "x": "Class"})
        wanted = ["--config=a.yaml", "--config=b.yaml", "--x=Class", f"--x.init_args.y={text}"]
        assert arguments_of(recipe)[1:] == wanted

    check_each(rows, check)


def test_only_chooses_cells(tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = [([], 6), (["A"], 3), (["A/seed-1", "B/seed-1"], 2), (["*/seed-2"], 2), (["B/"], 3), (["A", "A/seed-0"], 3)]

    def check(row: tuple[list[str], int]) -> None:
        patterns, count = row
        tmp_path = tmp_path_factory.mktemp("row")
        trials = trials_of(study(tmp_path, variants={"A": {"options": {}}, "B": {"options": {}}}))
        assert len(select_trials(trials, patterns)) == count

    check_each(rows, check)


WRONG: list[tuple[Any, str]] = [
    ("variants: [", "Expected .*study.yaml to be a configuration in YAML, but reading it fails: while parsing"),
    ("- a\n- b", r"to be a study with `variants`, but got \['a', 'b'\]"),
    ("", "to be a study with `variants`, but got None"),
    ("!!python/object/apply:os.system [ls]", "fails: the tag .*os.system in line 1, which is not plain data"),
    ({"variant": ONE}, "Expected a study to have only name, variants, .*, but .* has variant"),
    ({"variants": {}}, r"Expected `variants` to be names with their options, but got \{\}: a grid of zero trials"),
    ({"name": "x"}, "Expected `variants` to name what is compared, but got none: a grid of zero trials"),
    ({"name": "../x", "variants": ONE}, "Expected `name` to be a text that can name a folder, but got '../x'"),
    ({"variants": {"A": {"config": "nowhere.yaml"}}}, "Expected `config` to be a YAML file .* got 'nowhere.yaml'"),
    ({"variants": {"A": {"conf": "x"}}}, r"Expected `variants.A` to have a `config` and `options`, but got \{'conf'"),
    ({"variants": {"A": {"config": 3}}}, "Expected `variants.A.config` to be a YAML file or a list of them, but got"),
    ({"variants": {"A": {"options": [1]}}}, "Expected `variants.A.options` to be options with their values"),
    ({"variants": {"A": {"options": {"run_dir": "x"}}}}, "to leave out `run_dir`, since each trial has a folder"),
    ({"variants": ONE, "common": {"seed_everything": 3}}, "Expected `common` to leave out `seed_everything`, since"),
    ({"variants": ONE, "common": {"a.b": 3, "a": {"b": 4}}}, "each option once, but got `a.b` twice"),
    ({"variants": ONE, "seeds": []}, "Expected `seeds` to have at least one seed, but got none: a grid of zero trials"),
    ({"variants": ONE, "seeds": 3}, "Expected `seeds` to be a list of numbers from 0 to 4294967295, but got 3"),
    ({"variants": ONE, "seeds": [1, -1]}, r"Expected `seeds` to be a list of numbers from 0 .*, but got \[1, -1\]"),
    ({"variants": ONE, "seeds": [1, 2, 1]}, r"Expected `seeds` to differ from each other, but got \[1, 2, 1\]"),
    ({"variants": ONE, "overrides": {"lr": {}}}, r"Expected `overrides.lr` to be names .* \{\}: a grid of zero trials"),
    ({"variants": ONE, "design": "all"}, "Expected `design` to be one of grid, leave_one_out, add_one, but got 'all'"),
    ({"variants": ONE, "design": "add_one"}, "Expected `ablation_factors` to name what a design of add_one switches"),
    ({"variants": ONE, "ablation_factors": {"a": {}}, "overrides": {"a": {"b": {}}}}, "names, but both have a"),
    ({"variants": ONE, "baselines": "Random"}, "list of names, or names with their arguments, but got 'Random'"),
    ({"variants": ONE, "baselines": ["R", "R"]}, "Expected `baselines` to differ from each other"),
    ({"variants": ONE, "score": 3}, "Expected `score` to be the name of a metric, such as test/top1, but got 3"),
    ({"variants": ONE, "published": {"A": {"mean": 54.3}}}, "Expected `published.A` to have a `mean` and a `source`"),
    ({"variants": ONE, "published": {"A": {"mean": "5", "source": "x"}}}, "Expected `published.A` to have a `mean`"),
    ({"variants": ONE, "published": {"A": {"mean": 5, "source": "x", "n": 3}}}, "no more than metric, mean, std, sour"),
    ({"variants": ONE, "evaluation": 3}, "Expected `evaluation` to have a `config` and `options`, but got 3"),
    ("variants: {A: {options: {}}, A: {options: {}}}", "the key 'A' is repeated in one mapping"),
    ("variants: {1: {options: {}}, '1': {options: {}}}", "Expected the names of `variants` to differ"),
    ({"variants": {"a b": {"options": {}}, "a/b": {"options": {}}}}, "'a b' and 'a/b' would share trials/a-b/seed-0"),
    ({"variants": {"darts": {"options": {}}, "DARTS": {"options": {}}}}, "'darts' and 'DARTS' would share"),
    ({"variants": {"Random": {"options": {}}}, "baselines": ["Random"]}, "'Random' and 'Random' would share"),
    ({"variants": ONE, "overrides": {"x": {"1": {"a": 1}}, "y": {"1": {"a": 2}}}}, "but y and another set a"),
]  # fmt: skip


def test_what_makes_no_sense_is_said_in_a_sentence(tmp_path_factory: pytest.TempPathFactory) -> None:
    def check(row: tuple[Any, str]) -> None:
        held, sentence = row
        tmp_path = tmp_path_factory.mktemp("row")
        with pytest.raises(ValueError, match=sentence) as caught:
            trials_of(read_study(write(tmp_path, held)))
        said = str(caught.value)
        assert said.startswith("Expected ")
        assert "\n" not in said

    check_each(WRONG, check)


def test_a_missing_file_and_a_choice_of_nothing_are_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected nothing to be a configuration in YAML, but .*: No such file"):
        read_study("nothing")
    with pytest.raises(ValueError, match=r"Expected `--only` to name trials among A, but 'B' fits none"):
        select_trials(trials_of(study(tmp_path)), ["A", "B"])
