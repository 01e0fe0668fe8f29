"""The file of a study, and the cells that it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from robustnas.studies.grid import Cell, cells_of, chosen
from robustnas.studies.study import Study, as_word, read_study

ONE = {"A": {"options": {"model.init_args.lr": 0.1}}}


def write(folder: Path, held: Any) -> str:
    path = folder / "study.yaml"
    path.write_text(held if isinstance(held, str) else yaml.safe_dump(held, sort_keys=False), encoding="utf-8")
    return str(path)


def study(folder: Path, **held: Any) -> Study:
    return read_study(write(folder, {"variants": ONE, "baselines": [], **held}))


def folders(cells: list[Cell]) -> list[str]:
    return [cell.folder.removeprefix("cells/") for cell in cells]


def test_a_grid_has_every_combination(tmp_path: Path) -> None:
    held = study(
        tmp_path,
        variants={"A": {"options": {"model": {"init_args": {"lr": 0.1, "clip": 1}}}}, "B": {"config": "digits_gdas"}},
        spaces={"S1": {"model.init_args.space": "S1"}, "S2": {"model.init_args.space": "S2"}},
        data={"digits": {"data.init_args.batch_size": 8}},
        overrides={"lr": {"low": {"model.init_args.lr": 0.01}, "high": {"model.init_args.lr": 1.0}}, "wd": {0: None}},
        parts={"drop": {"model.init_args.drop_path": 0.2}},
        common={"model.init_args.clip": 5, "trainer.max_epochs": 3},
        seeds=[4, 2],
        baselines=["Random"],
        evaluation={"config": "evaluate_nasbench201", "options": {"trainer.max_epochs": 7}},
        published={"A": {"mean": 54.3, "std": 0, "metric": "top1", "source": "a paper"}},
    )
    assert held.published == {"A": {"mean": 54.3, "std": 0, "metric": "top1", "source": "a paper"}}
    cells = cells_of(held)
    wanted = set()
    for seed in (4, 2):
        for space in ("S1", "S2"):
            wanted.add(f"Random/{space}/digits/seed-{seed}")
            for variant in "AB":
                for lr in ("low", "high"):
                    for drop in ("on", "off"):
                        wanted.add(f"{variant}/{space}/digits/lr={lr}/wd=0/drop={drop}/seed-{seed}")
    assert set(folders(cells)) == wanted
    assert len(cells) == len(wanted) == 2 * 2 * (2 * 2 * 2 + 1)
    assert [cell.seed for cell in cells] == [4] * 18 + [2] * 18  # all of one seed before any of the next
    cell = next(cell for cell in cells if cell.group == "A/S2/digits/lr=low/wd=0/drop=on")
    options = dict(word[2:].split("=") for word in cell.search)
    assert options == {  # the more special over the more general
        "model.init_args.clip": "1", "trainer.max_epochs": "3", "model.init_args.space": "S2",
        "data.init_args.batch_size": "8", "model.init_args.lr": "0.01", "model.init_args.drop_path": "0.2",
    }  # fmt: skip
    assert (cell.levels, cell.baseline) == ({"lr": "low", "wd": "0", "drop": "on"}, False)
    assert cell.evaluation is not None
    assert cell.evaluation[0].endswith("configs/evaluate_nasbench201.yaml")
    assert cell.evaluation[1:] == ("--trainer.max_epochs=7",)
    random = next(cell for cell in cells if cell.baseline)
    assert random.levels == {}
    assert "--model.init_args.lr=0.1" not in random.search


@pytest.mark.parametrize(
    ("design", "on"),
    [
        ("leave_one_out", ["abc", "bc", "ac", "ab"]),
        ("add_one", ["", "a", "b", "c"]),
        ("grid", ["", "a", "b", "c", "ab", "ac", "bc", "abc"]),
    ],
)
def test_designs_switch_parts(design: str, on: list[str], tmp_path: Path) -> None:
    parts = {name: {f"model.init_args.{name}": 1} for name in "abc"}
    cells = cells_of(study(tmp_path, parts=parts, design=design, seeds=[0]))
    assert sorted("".join(n for n, level in cell.levels.items() if level == "on") for cell in cells) == sorted(on)
    for cell in cells:
        for name in "abc":
            assert (f"--model.init_args.{name}=1" in cell.search) == (cell.levels[name] == "on")
    assert len(set(folders(cells))) == len(on)


def test_three_seeds_and_the_recipe_of_the_space_are_the_default(tmp_path: Path) -> None:
    cells = cells_of(study(tmp_path))
    assert folders(cells) == ["A/seed-0", "A/seed-1", "A/seed-2"]
    assert cells[0].evaluation == ()
    assert cells_of(study(tmp_path, evaluation=None))[0].evaluation is None


def test_shipped_studies_are_found_by_name() -> None:
    cells = cells_of(read_study("digits_nasbench201"))
    assert len({cell.variant for cell in cells if not cell.baseline}) == 8
    assert {cell.seed for cell in cells} == {0, 1, 2}


@pytest.mark.parametrize(
    ("value", "word"),
    [("Softmax", "--x=Softmax"), (None, "--x=null"), (True, "--x=true"), (3e-4, "--x=0.0003"), ([1, 2], "--x=[1, 2]"),
     ({"class_path": "A"}, '--x={"class_path": "A"}'), (float("inf"), "--x=inf")],
)  # fmt: skip
def test_options_become_words(value: Any, word: str) -> None:
    assert as_word("x", value) == word


@pytest.mark.parametrize(
    ("patterns", "count"),
    [([], 6), (["A"], 3), (["A/seed-1", "B/seed-1"], 2), (["*/seed-2"], 2), (["B/"], 3), (["A", "A/seed-0"], 3)],
)
def test_only_chooses_cells(patterns: list[str], count: int, tmp_path: Path) -> None:
    cells = cells_of(study(tmp_path, variants={"A": {"options": {}}, "B": {"options": {}}}))
    assert len(chosen(cells, patterns)) == count


WRONG: list[tuple[Any, str]] = [
    ("variants: [", "Expected .*study.yaml to be a configuration in YAML, but reading it fails: while parsing"),
    ("- a\n- b", r"to be a study with `variants`, but got \['a', 'b'\]"),
    ("", "to be a study with `variants`, but got None"),
    ("!!python/object/apply:os.system [ls]", "fails: the tag .*os.system in line 1, which is not plain data"),
    ({"variant": ONE}, "Expected a study to have only name, variants, .*, but .* has variant"),
    ({"variants": {}}, r"Expected `variants` to be names with their options, but got \{\}: a grid of zero cells"),
    ({"name": "x"}, "Expected `variants` to name what is compared, but got none: a grid of zero cells"),
    ({"name": "../x", "variants": ONE}, "Expected `name` to be a text that can name a folder, but got '../x'"),
    ({"variants": {"A": {"config": "nowhere.yaml"}}}, "Expected `config` to be a YAML file .* got 'nowhere.yaml'"),
    ({"variants": {"A": {"conf": "x"}}}, r"Expected `variants.A` to have a `config` and `options`, but got \{'conf'"),
    ({"variants": {"A": {"config": 3}}}, "Expected `variants.A.config` to be a YAML file or a list of them, but got"),
    ({"variants": {"A": {"options": [1]}}}, "Expected `variants.A.options` to be options with their values"),
    ({"variants": {"A": {"options": {"run": "x"}}}}, "to leave out `run`, since each cell has a folder of its own"),
    ({"variants": ONE, "common": {"seed_everything": 3}}, "Expected `common` to leave out `seed_everything`, since"),
    ({"variants": ONE, "common": {"a.b": 3, "a": {"b": 4}}}, "each option once, but got `a.b` twice"),
    ({"variants": ONE, "seeds": []}, "Expected `seeds` to have at least one seed, but got none: a grid of zero cells"),
    ({"variants": ONE, "seeds": 3}, "Expected `seeds` to be a list of numbers from 0 to 4294967295, but got 3"),
    ({"variants": ONE, "seeds": [1, -1]}, r"Expected `seeds` to be a list of numbers from 0 .*, but got \[1, -1\]"),
    ({"variants": ONE, "seeds": [1, 2, 1]}, r"Expected `seeds` to differ from each other, but got \[1, 2, 1\]"),
    ({"variants": ONE, "overrides": {"lr": {}}}, r"Expected `overrides.lr` to be names .* \{\}: a grid of zero cells"),
    ({"variants": ONE, "design": "all"}, "Expected `design` to be one of grid, leave_one_out, add_one, but got 'all'"),
    ({"variants": ONE, "design": "add_one"}, "Expected `parts` to name what a design of add_one switches"),
    ({"variants": ONE, "parts": {"a": {}}, "overrides": {"a": {"b": {}}}}, "different names, but both have a"),
    ({"variants": ONE, "baselines": "Random"}, "list of names, or names with their arguments, but got 'Random'"),
    ({"variants": ONE, "baselines": ["R", "R"]}, "Expected `baselines` to differ from each other"),
    ({"variants": ONE, "score": 3}, "Expected `score` to be the name of a metric, such as test/top1, but got 3"),
    ({"variants": ONE, "published": {"A": {"mean": 54.3}}}, "Expected `published.A` to have a `mean` and a `source`"),
    ({"variants": ONE, "published": {"A": {"mean": "5", "source": "x"}}}, "Expected `published.A` to have a `mean`"),
    ({"variants": ONE, "published": {"A": {"mean": 5, "source": "x", "n": 3}}}, "no more than metric, mean, std, sour"),
    ({"variants": ONE, "evaluation": 3}, "Expected `evaluation` to have a `config` and `options`, but got 3"),
    ("variants: {A: {options: {}}, A: {options: {}}}", "the key 'A' is repeated in one mapping"),
    ("variants: {1: {options: {}}, '1': {options: {}}}", "Expected the names of `variants` to differ"),
    ({"variants": {"a b": {"options": {}}, "a/b": {"options": {}}}}, "'a b' and 'a/b' would share cells/a-b/seed-0"),
    ({"variants": {"darts": {"options": {}}, "DARTS": {"options": {}}}}, "'darts' and 'DARTS' would share"),
    ({"variants": {"Random": {"options": {}}}, "baselines": ["Random"]}, "'Random' and 'Random' would share"),
    ({"variants": ONE, "overrides": {"x": {"1": {"a": 1}}, "y": {"1": {"a": 2}}}}, "but y and another set a"),
]  # fmt: skip


@pytest.mark.parametrize(("held", "sentence"), WRONG)
def test_what_makes_no_sense_is_said_in_a_sentence(held: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        cells_of(read_study(write(tmp_path, held)))
    said = str(caught.value)
    assert said.startswith("Expected ")
    assert "\n" not in said


def test_a_missing_file_and_a_choice_of_nothing_are_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected nothing to be a configuration in YAML, but .*: No such file"):
        read_study("nothing")
    with pytest.raises(ValueError, match=r"Expected `--only` to name cells among A, but 'B' fits none"):
        chosen(cells_of(study(tmp_path)), ["A", "B"])
