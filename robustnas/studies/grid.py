"""Which cells a study has: every combination of what it names."""

from __future__ import annotations

import fnmatch
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robustnas.analysis.metrics import TRUE_ACCURACY
from robustnas.studies.study import Options, Study, as_word

ON, OFF = "on", "off"
CELLS = 100_000  # of a study; the largest published ones have some thousand runs
SCORE = TRUE_ACCURACY.name  # the score where nothing is trained and a table knows


@dataclass(frozen=True)
class Cell:
    """One run of a study: a search with one seed, and the evaluation of what it finds.

    Args:
        variant: Name of the variant, or of the baseline.
        space: Name of the search space, or ``None`` where the study names none.
        data: Name of the data, likewise.
        levels: Level of each factor, and whether each part is ``on`` or ``off``.
        seed: Seed of everything.
        baseline: Whether it is a baseline.
        search: Words of ``robustnas fit`` for the search, without folder and seed; for a baseline those of the first
            variant, whose space and data it takes.
        evaluation: Words of ``robustnas fit`` for the evaluation, without folder, seed, genotype and data; the file
            may be missing. ``None``: what was found is not trained.
        score: Metric that counts, or ``None`` for the first of the test.
        arguments: Arguments of the baseline.
        table: Fields of the study's :class:`~robustnas.studies.baseline_configuration.Tabular`, or ``None``.
        fingerprint: What tells its whole configuration from another, see :mod:`robustnas.studies.configuration`.
    """

    variant: str
    space: str | None
    data: str | None
    levels: Mapping[str, str]
    seed: int
    baseline: bool = False
    search: tuple[str, ...] = field(default=(), repr=False)
    evaluation: tuple[str, ...] | None = field(default=(), repr=False)
    score: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    table: Mapping[str, Any] | None = None
    fingerprint: str = ""

    @property
    def group(self) -> str:
        """The cell without its seed, as a path: ``DARTS/NASBench201/digits/lr=low``."""
        named = [_as_folder(name) for name in (self.variant, self.space, self.data) if name is not None]
        return "/".join([*named, *(f"{_as_folder(name)}={_as_folder(level)}" for name, level in self.levels.items())])

    @property
    def folder(self) -> str:
        """Its folder inside the study's."""
        return f"cells/{self.group}/seed-{self.seed}"

    @property
    def key(self) -> str:
        """What it is called in the terminal and by ``--only``."""
        return f"{self.group}/seed-{self.seed}"

    @property
    def place(self) -> dict[str, Any]:
        """Where it lies in the grid, for its files."""
        return {
            "variant": self.variant, "space": self.space, "data": self.data, "levels": dict(self.levels),
            "seed": self.seed, "baseline": self.baseline,
        }  # fmt: skip


def cells_of(study: Study) -> list[Cell]:
    """The cells of a study, the repetitions of all of them in turn, so that a study half done says something.

    Args:
        study: The study.

    Returns:
        Its cells, variants before baselines.

    Raises:
        ValueError: If two factors set one option, or two cells would share a folder.
    """
    _check_count(study)
    first = next(iter(study.variants.values()))
    unnamed: dict[str | None, Options] = {None: {}}
    places = list(itertools.product((study.spaces or unnamed).items(), (study.data or unnamed).items()))
    evaluation = (
        None if study.evaluation is None else (*_files(study.evaluation.configs), *_words(study.evaluation.options))
    )
    known, score = study.table, study.score
    if known and study.evaluation is None:
        score = score or SCORE
    shared = {} if known is None else {"diagnostics.table": known.file, "diagnostics.accuracy": known.accuracy}
    table = None if known is None else known.held
    cells = []
    for seed in study.seeds:
        for (space, in_space), (data, on_data) in places:
            common = {**shared, **study.common, **in_space, **on_data}
            for name, recipe in study.variants.items():
                for levels, switched in combinations(study):
                    options = {**common, **recipe.options, **switched}
                    words = (*_files(recipe.configs), *_words(options))
                    cells.append(Cell(name, space, data, levels, seed, False, words, evaluation, score, {}, table))
            for name, arguments in study.baselines.items():
                words = (*_files(first.configs), *_words(common))
                cells.append(Cell(name, space, data, {}, seed, True, words, evaluation, score, arguments, table))
    _check_folders(cells)
    return cells


def _check_count(study: Study) -> None:
    """Refuse a grid that nobody can run, before it is made."""
    levels = math.prod(len(each) for each in study.overrides.values())
    switched = 2 ** len(study.parts) if study.design == "grid" else 1 + len(study.parts)
    places = max(1, len(study.spaces)) * max(1, len(study.data)) * len(study.seeds)
    if (count := places * (len(study.variants) * levels * switched + len(study.baselines))) > CELLS:
        raise ValueError(
            f"Expected a study to have at most {CELLS:,} cells, but its variants, spaces, data, overrides, parts and "
            f"seeds combine to {count:.0e}."
        )


def combinations(study: Study) -> list[tuple[dict[str, str], Options]]:
    """Combinations of the factors and parts of a study.

    Args:
        study: The study.

    Returns:
        The level of each factor, and the options that this means.

    Raises:
        ValueError: If two of them set one option.
    """
    choices = [[(name, level, given) for level, given in levels.items()] for name, levels in study.overrides.items()]
    found = []
    for factors in itertools.product(*choices):
        for on in _switched(study):
            parts = [(name, ON if name in on else OFF, study.parts[name] if name in on else {}) for name in study.parts]
            options: Options = {}
            for name, _, given in (*factors, *parts):
                if both := sorted(set(given) & set(options)):
                    raise ValueError(
                        f"Expected each option to be set by one factor, but {name} and another set {both[0]}."
                    )
                options |= given
            found.append(({name: level for name, level, _ in (*factors, *parts)}, options))
    return found


def _switched(study: Study) -> Iterator[set[str]]:
    """Which parts are on, for each combination of the design."""
    every = set(study.parts)
    if study.design == "leave_one_out":
        yield every
        yield from (every - {name} for name in study.parts)
    elif study.design == "add_one":
        yield set()
        yield from ({name} for name in study.parts)
    else:
        for chosen in itertools.product((False, True), repeat=len(every)):
            yield {name for name, on in zip(study.parts, chosen, strict=True) if on}


def chosen(cells: Sequence[Cell], patterns: Sequence[str]) -> list[Cell]:
    """The cells that are asked for.

    Args:
        cells: All cells.
        patterns: What :attr:`Cell.key` is, or begins with at a ``/``, with ``*`` for anything; none for all cells.

    Returns:
        Those that fit one of the patterns.

    Raises:
        ValueError: If a pattern fits none.
    """
    for pattern in patterns:
        if not any(_fits(cell, pattern) for cell in cells):
            known = sorted({cell.group for cell in cells})
            raise ValueError(f"Expected `--only` to name cells among {', '.join(known)}, but {pattern!r} fits none.")
    return [cell for cell in cells if not patterns or any(_fits(cell, pattern) for pattern in patterns)]


def _fits(cell: Cell, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(cell.key, form) for form in (pattern, f"{pattern.rstrip('/')}/*"))


def _files(configs: Sequence[str]) -> list[str]:
    return [f"--config={name}" for name in configs]


def _words(options: Mapping[str, Any]) -> list[str]:
    # A class comes before its arguments, whoever names which.
    return [as_word(name, value) for name, value in sorted(options.items(), key=lambda option: option[0].count("."))]


def _as_folder(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", name).strip(".-") or "-"


def _check_folders(cells: Sequence[Cell]) -> None:
    """Refuse two cells in one folder, also where upper and lower case are one."""
    seen: dict[str, Cell] = {}
    for cell in cells:
        other = seen.setdefault(cell.folder.casefold(), cell)
        if other is not cell:
            raise ValueError(
                f"Expected each cell to have a folder of its own, but {_named(other)} and {_named(cell)} "
                f"would share {cell.folder}; name them more differently."
            )


def _named(cell: Cell) -> str:
    return repr(", ".join(str(name) for name in (cell.variant, cell.space, cell.data, *cell.levels.values()) if name))
