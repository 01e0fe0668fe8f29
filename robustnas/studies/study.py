"""The file of a study: variants, search spaces, data, factors and seeds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from robustnas.runtime.paths import expand, find_config, shipped_config
from robustnas.runtime.safe_yaml import read_yaml
from robustnas.studies.choosing import metric_of
from robustnas.studies.settings import Settings, check_size, checked_size
from robustnas.studies.study_table import StudyTable
from robustnas.studies.trial import EvaluationRecipe, Options, Recipe

Design = Literal["grid", "leave_one_out", "add_one"]
Arguments = dict[str, Any]

KEYS = (
    "name", "variants", "spaces", "data", "overrides", "ablation_factors", "design", "seeds", "common", "baselines",
    "evaluation", "score", "choose", "published", "table",
)  # fmt: skip
SEEDS = (0, 1, 2)
TRAINED = ("RandomGenotype", "RandomSharing", "ResNet")  # default baselines where what is found is trained
LOOKED_UP = ("RandomGenotype", "RandomSharing", "RandomSearch", "RegularisedEvolution")  # where a table has it
TAKEN = {  # option: who sets it
    "config": "`config` names files",
    "run_dir": "each trial has a folder of its own",
    "ckpt_path": "each trial resumes from its own checkpoint",
    "seed_everything": "`seeds` sets it",
}


@dataclass(frozen=True)
class Study:
    """What a study file says."""

    name: str
    variants: dict[str, Recipe]
    spaces: dict[str, Options]  # options of each; empty where the variants name theirs
    data: dict[str, Options]  # likewise
    overrides: dict[str, dict[str, Options]]  # factor to level to options; all levels are combined
    ablation_factors: dict[str, Options]  # to the options that switch it on
    design: Design  # grid: all; leave_one_out: all on, all but one on; add_one: none on, one on
    seeds: tuple[int, ...]
    common: Options  # options of all searches
    baselines: dict[str, Arguments]  # with their arguments
    evaluation: EvaluationRecipe | None  # without a file by the recipe of the space; None: not at all
    score: str | None  # metric that counts; None: the first of the test
    published: dict[str, dict[str, Any]] = field(default_factory=dict)
    table: StudyTable | None = None  # of true accuracies
    choose: str | None = None  # metric by which one seed of each group is chosen; None: every seed counts


def read_study(path: str) -> Study:
    """Read a study file, or the one of that name in ``robustnas.configs.studies``, but not what it names."""
    file = expand(path, "STUDY")
    if not file.is_file() and (shipped := shipped_config(path, "studies")) is not None:
        file = shipped
    held = read_yaml(file)
    if not isinstance(held, dict) or not held:
        raise ValueError(f"Expected {path} to be a study with `variants`, but got {held!r}.")
    if unknown := [str(key) for key in held if key not in KEYS]:
        raise ValueError(f"Expected a study to have only {', '.join(KEYS)}, but {path} has {', '.join(unknown)}.")
    return _study(held, file)


def _study(held: dict[str, Any], file: Path) -> Study:
    folder = file.parent
    name = held.get("name", file.stem)
    if not isinstance(name, str) or not name.strip() or "/" in name or "\\" in name or name in (".", ".."):
        raise ValueError(f"Expected `name` to be a text that can name a folder, but got {name!r}.")
    variants = {k: read_recipe(f"variants.{k}", v, folder) for k, v in _mapping("variants", held).items()}
    table = StudyTable.of(held.get("table"), folder)
    baselines = _baselines(held, variants, table)
    if not variants:
        raise ValueError(
            f"Expected `variants` to name what is compared, but got none: a grid of zero trials in {file}."
        )
    overrides = _levels("overrides", held.get("overrides"), "overrides" in held)
    factors = _named("ablation_factors", held)
    design = held.get("design", "grid")
    if design not in get_args(Design):
        raise ValueError(f"Expected `design` to be one of {', '.join(get_args(Design))}, but got {design!r}.")
    if design != "grid" and not factors:
        raise ValueError(f"Expected `ablation_factors` to name what a design of {design} switches, but got none.")
    if both := sorted(set(factors) & set(overrides)):
        raise ValueError(
            f"Expected `ablation_factors` and `overrides` to have different names, but both have {', '.join(both)}."
        )
    score = held.get("score")
    if score is not None and not isinstance(score, str):
        raise ValueError(f"Expected `score` to be the name of a metric, such as test/top1, but got {score!r}.")
    seeds = _seeds(held.get("seeds", SEEDS))
    return Study(
        name, variants, _named("spaces", held), _named("data", held), overrides, factors, design,
        seeds, read_options("common", held.get("common")), baselines,
        _evaluation(held.get("evaluation", {}), folder), score,
        {name: _published(name, given) for name, given in _mapping("published", held).items()},
        table=table, choose=metric_of(held.get("choose"), seeds),
    )  # fmt: skip


def _mapping(key: str, held: Mapping[str, Any], where: str | None = None) -> dict[str, Any]:
    """Names with what they stand for; a key that is there has at least one."""
    given = next((value for name, value in held.items() if str(name) == key), None)
    if key not in map(str, held):
        return {}
    if isinstance(given, dict) and given:
        named = {str(name): value for name, value in given.items()}
        if len(named) == len(given):
            return named
        raise ValueError(
            f"Expected the names of `{where or key}` to differ, but got {list(given)}: one folder for two."
        )
    nothing = ": a grid of zero trials" if given in ({}, [], None) else ""
    raise ValueError(f"Expected `{where or key}` to be names with their options, but got {given!r}{nothing}.")


def _named(key: str, held: Mapping[str, Any]) -> dict[str, Options]:
    return {name: read_options(f"{key}.{name}", given) for name, given in _mapping(key, held).items()}


def read_recipe(where: str, given: Any, folder: Path, bare: bool = False) -> Recipe:
    """A configuration of ``robustnas fit``; its files are looked for in a folder first."""
    given = {"config": given} if isinstance(given, str) else given
    if not isinstance(given, dict) or set(given) - {"config", "options"} or not (given or bare):
        raise ValueError(f"Expected `{where}` to have a `config` and `options`, but got {given!r}.")
    named = given.get("config", [])
    named = [named] if isinstance(named, str) else named
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise ValueError(f"Expected `{where}.config` to be a YAML file or a list of them, but got {named!r}.")
    configs = tuple(str(find_config(name, "config", folder).resolve()) for name in named)
    return Recipe(configs, read_options(f"{where}.options", given.get("options")))


def _evaluation(given: Any, folder: Path) -> EvaluationRecipe | None:
    """How what is found is trained, ``None`` for not at all."""
    if given is None:
        return None
    own = given if isinstance(given, dict) else {}
    rest = {name: value for name, value in own.items() if name not in ("settings", "size")} if own else given
    recipe, size = read_recipe("evaluation", rest, folder, bare=True), checked_size(own.get("size", "recipe"))
    if size == "search":
        check_size(recipe.options)
    settings = Settings.of(_levels("evaluation.settings", own.get("settings", {}), "settings" in own), size)
    return EvaluationRecipe(recipe.configs, recipe.options, settings.options, size == "search")


def _levels(where: str, given: Any, named: bool) -> dict[str, dict[str, Options]]:
    """Factors with their levels, and the options of each level."""
    key = where.rpartition(".")[2]
    return {
        factor: {
            level: read_options(f"{where}.{factor}.{level}", options)
            for level, options in _mapping(factor, given, f"{where}.{factor}").items()
        }
        for factor in (_mapping(key, {key: given}, where) if named else ())
    }


def read_options(where: str, given: Any) -> Options:
    """Options by dotted name; nested ones are taken apart down to a class with its arguments."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ValueError(f"Expected `{where}` to be options with their values, but got {given!r}.")
    found: Options = {}
    for key, value in given.items():
        name = str(key).removeprefix("--")
        if name in TAKEN:
            raise ValueError(f"Expected `{where}` to leave out `{name}`, since {TAKEN[name]}, but got {value!r}.")
        nested = isinstance(value, dict) and value and "class_path" not in value
        deeper = (
            {f"{name}.{inner}": one for inner, one in read_options(f"{where}.{name}", value).items()} if nested else {}
        )
        for dotted, one in (deeper or {name: value}).items():
            if dotted in found:
                raise ValueError(f"Expected `{where}` to have each option once, but got `{dotted}` twice.")
            found[dotted] = one
    return found


def _seeds(given: Any) -> tuple[int, ...]:
    if not isinstance(given, list | tuple) or not all(type(seed) is int and 0 <= seed < 2**32 for seed in given):
        raise ValueError(f"Expected `seeds` to be a list of numbers from 0 to {2**32 - 1}, but got {given!r}.")
    if not given:
        raise ValueError("Expected `seeds` to have at least one seed, but got none: a grid of zero trials.")
    if len(set(given)) < len(given):
        raise ValueError(f"Expected `seeds` to differ from each other, but got {list(given)}.")
    return tuple(given)


def _baselines(held: Mapping[str, Any], taken: Collection[str], table: StudyTable | None) -> dict[str, Arguments]:
    """The baselines with their arguments: a list or a mapping; without the key, cheap ones that fit the study."""
    if "baselines" not in held:
        trains = held.get("evaluation", {}) is not None
        names = TRAINED if trains else ("RandomSharing",)
        if table is not None:
            looked_up = LOOKED_UP if table.queried else LOOKED_UP[:2]
            names = tuple(dict.fromkeys([*looked_up, *TRAINED])) if trains else looked_up
        return {name: {} for name in names if name.casefold() not in {other.casefold() for other in taken}}
    given = held["baselines"]
    listed = [{name: given[name]} for name in given] if isinstance(given, dict) else [] if given is None else given
    found: dict[str, Arguments] = {}
    for each in listed if isinstance(listed, list) else [None]:
        name, arguments = next(iter(each.items())) if isinstance(each, dict) and len(each) == 1 else (each, None)
        if not isinstance(name, str) or not isinstance(arguments, dict | None):
            raise ValueError(
                f"Expected `baselines` to be a list of names, or names with their arguments, but got {given!r}."
            )
        if name in found:
            raise ValueError(f"Expected `baselines` to differ from each other, but got {name} twice.")
        found[name] = {str(key): value for key, value in (arguments or {}).items()}
    return found


def _published(name: str, given: Any) -> dict[str, Any]:
    """Numbers of others, beside which those of the study are shown."""
    known = ("metric", "mean", "std", "source")
    texts = isinstance(given, dict) and all(isinstance(given.get(key, ""), str) for key in ("metric", "source"))
    numbers = texts and all(type(given.get(key, 0.0)) in (int, float) for key in ("mean", "std"))
    if not numbers or "mean" not in given or "source" not in given or set(given) - set(known):
        raise ValueError(
            f"Expected `published.{name}` to have a `mean` and a `source`, and no more than {', '.join(known)}, "
            f"but got {given!r}."
        )
    return dict(given)
