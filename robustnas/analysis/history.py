"""What a verdict reads: α, genotypes and measures by epoch, from the folder of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robustnas.analysis.architecture_statistics import shares_of
from robustnas.analysis.chance import constant_answer
from robustnas.analysis.cost_outcome import CostOutcome, read_cost
from robustnas.analysis.registry import adopt
from robustnas.runs.record import Run
from robustnas.runtime.csv_files import read_csv
from robustnas.spaces import Genotype, SearchSpace, find_space, strongest

Array = npt.NDArray[Any]
EPOCHS = 10_000  # of a search, each of which is judged; those of the field take 50 to 600


@dataclass(frozen=True, eq=False)
class History:
    """A search as far as it was recorded. Any part may be missing, as long as something is there.

    Raises:
        ValueError: If nothing was recorded, or α or a genotype is not one of the space.
    """

    space: SearchSpace
    alphas: Mapping[int, Mapping[str, Array]] = field(default_factory=dict)  #: epoch to [edges, operations] by kind
    genotypes: Mapping[int, Genotype] = field(default_factory=dict)  #: epoch to the genotype after it
    series: Mapping[str, Mapping[int, float]] = field(default_factory=dict)  #: logged name to values by epoch
    planned: int | None = None  #: epochs the search was to take, where that is known
    final: Genotype | None = None  #: the genotype that it ended with; None while it runs
    classes: int | None = None  #: of the data: they tell what chance is, where the next is not known
    constant: float | None = None  #: accuracy of a constant answer: the share of the largest class in validation
    samples: int | None = None  #: of validation
    settings: Mapping[str, Any] = field(default_factory=dict)  #: arguments of the search: what need not be tried
    name: str = ""  #: where it comes from, for people
    first: int = 0  #: number of the first epoch, 0 or 1, as the source counts them
    read_as: str = ""  #: what was assumed in reading it, for people
    independent: bool = False  #: whether shares are sigmoids of α, whose rows do not sum to one
    cost: CostOutcome | None = None  #: what its genotype costs, where the loss of α has a cost

    def __post_init__(self) -> None:
        if len(self.epochs) > EPOCHS:
            raise ValueError(f"Expected {self.name or 'a history'} to hold at most {EPOCHS:,} epochs, but got more.")
        for epoch, alpha in self.alphas.items():
            _check_alpha(self.space, alpha, epoch)
        for genotype in (*self.genotypes.values(), *([self.final] if self.final else [])):
            genotype.validate(self.space)
        if not self.epochs:
            raise ValueError(f"Expected {self.name or 'a history'} to hold at least one finished epoch, but got none.")

    @cached_property
    def epochs(self) -> list[int]:
        """Epochs of which anything is known, in order."""
        return sorted({epoch for part in (self.alphas, self.genotypes, *self.series.values()) for epoch in part})

    @property
    def finished(self) -> bool:
        """Whether the search has ended."""
        return self.final is not None

    @property
    def chance(self) -> float | None:
        """Accuracy of a constant answer, taken as that of classes of one size where their sizes are not known."""
        return self.constant or (1 / self.classes if self.classes else None)

    @property
    def normal_kinds(self) -> list[str]:
        """Kinds of cell that keep the resolution: those in which skip connections are a sign of collapse."""
        return [kind for kind, cell in self.space.cells.items() if not cell.reduction]

    def kept_edges(self, kind: str) -> int:
        """Edges of a discrete cell; at most, where it may keep fewer."""
        cell = self.space.cells[kind]
        return sum(cell.kept(node) for node in cell.nodes)

    @property
    def edges(self) -> int:
        """Edges of a discrete cell, of the normal kind that has most."""
        return max(self.kept_edges(kind) for kind in self.normal_kinds)

    def shares(self, epoch: int) -> dict[str, Array]:
        """Shares of the operations after an epoch whose α is known."""
        return shares_of(self.space, self.alphas[epoch], self.independent)

    def genotype(self, epoch: int) -> Genotype:
        """The genotype after an epoch, as recorded or else discretised from α."""
        return self.genotypes[epoch] if epoch in self.genotypes else strongest(self.space, self.shares(epoch))

    def progress(self, epoch: int) -> float:
        """Share of the search that is over after ``epoch``: of its epochs once it ended, of the planned ones before."""
        done = self.epochs[-1] + 1 - self.first
        whole = done if self.finished or not self.planned else self.planned
        return min(1.0, (epoch + 1 - self.first) / whole)

    def until(self, epoch: int) -> History:
        """The history as it was after ``epoch``, while the search was running."""

        def cut(part: Mapping[int, Any]) -> dict[int, Any]:
            return {at: value for at, value in part.items() if at <= epoch}

        series = {name: found for name, values in self.series.items() if (found := cut(values))}
        return replace(
            self, alphas=cut(self.alphas), genotypes=cut(self.genotypes), series=series, final=None, cost=None,
            planned=self.planned or self.epochs[-1] + 1 - self.first,
        )  # fmt: skip

    @classmethod
    def of_run(cls, folder: str | Path, space: SearchSpace | str | None = None) -> History:
        """Return the history of a run, finished or not; ``space`` is by default the one that its genotypes name.

        Raises:
            ValueError: If it is no folder of a search, or a file in it is damaged.
        """
        run = Run(Path(folder))
        _check_folder(run.path)
        genotypes, alphas = run.genotypes(), run.alphas()
        final = run.genotype() if (run.path / "genotype.json").exists() else None
        manifest = run.manifest if (run.path / "manifest.json").exists() else {}
        adopt(manifest.get("metrics", []))
        settings = part(manifest, "module", "init_args")
        known = [genotype.space for genotype in (*genotypes.values(), *([final] if final else []))]
        named = space or next(iter(known), None) or part(settings, "space")
        if not isinstance(named, (str, SearchSpace)):
            raise ValueError(f"Expected {run.path} to name its search space, but it does not; give --space.")
        planned = manifest.get("epochs")
        return cls(
            find_space(named), alphas, genotypes, read_series(run.path / "metrics.csv"),
            planned=planned if isinstance(planned, int) and planned > 0 else None, final=final,
            **_classes(part(manifest, "data")),
            settings=settings if isinstance(settings, dict) else {}, name=str(folder),
            independent=manifest.get("independent_shares") is True, cost=read_cost(run.path, final),
        )  # fmt: skip


def _classes(data: Any) -> dict[str, Any]:
    """What is known of the classes of the data and of their shares in validation, the role ``selection``."""
    classes = part(data, "classes")
    if part(data, "task") not in (None, "classification") or not isinstance(classes, list) or len(classes) < 2:
        return {}
    constant, samples = constant_answer(part(data, "roles", "selection", "class_counts")) or (None, None)
    return {"classes": len(classes), "constant": constant, "samples": samples}


def read_series(path: Path) -> dict[str, dict[int, float]]:
    """The finite values of each measure in ``metrics.csv`` by epoch, of whose rows the last counts; none without it."""
    if not path.exists():
        return {}
    series: dict[str, dict[int, float]] = {}
    table = read_csv(path)
    if table.names and "epoch" not in table.names:
        raise ValueError(f"Expected {path} to have a column `epoch`, but it has none.")
    try:
        for row in table.records():
            epoch = int(row["epoch"])
            for name, text in row.items():
                if "/" in name and text and is_measured(value := float(text)):
                    series.setdefault(name, {})[epoch] = value
    except ValueError as error:
        raise ValueError(f"Expected {path} to hold one row of numbers for each epoch, but got: {error}.") from error
    return series


def is_measured(value: float) -> bool:
    """Whether a number says anything: it is finite, and no overflow in the making."""
    return math.isfinite(value) and abs(value) < 1e100


def _check_alpha(space: SearchSpace, alpha: Mapping[str, Array], epoch: int) -> None:
    wanted = {kind: cell.shape for kind, cell in space.cells.items()}
    found = {kind: tuple(np.shape(values)) for kind, values in alpha.items()}
    if found != wanted:
        raise ValueError(
            f"Expected α of the space {space.name} to be {wanted} (kind: edges, operations), "
            f"but got {found} in epoch {epoch}."
        )
    if any(np.asarray(values).dtype.kind not in "iuf" for values in alpha.values()):
        raise ValueError(f"Expected α to be real numbers, but got others in epoch {epoch}.")
    for kind, values in alpha.items():
        for edge, row in zip(space.cells[kind].edges, np.asarray(values), strict=True):
            own = row[: len(edge.operations)]
            if not (np.isfinite(own) | np.isneginf(own)).all() or not np.isfinite(own).any():
                raise ValueError(
                    f"Expected α to be finite, or -inf where an operation is masked but not all are, but got "
                    f"{own.tolist()} on {kind} edge {edge.name} in epoch {epoch}."
                )


def _check_folder(path: Path) -> None:
    if path.is_file():
        raise ValueError(
            f"Expected RUN to be the folder of a search, but {path} is a file; `robustnas diagnose FILE --space SPACE` "
            "reads α histories of other tools."
        )
    if not path.is_dir():
        raise ValueError(f"Expected RUN to be the folder of a search, but there is no folder {path}.")
    if any((path / name).exists() for name in ("alpha", "genotypes", "genotype.json")):
        return
    held = sorted(file.name for file in path.glob("[!.]*"))
    if (path / "manifest.json").exists():
        got = "a run that has not finished an epoch of a search"
    elif any("tfevents" in name for name in held):
        got = "one with TensorBoard events alone, as other tools write, which hold no α"
    else:
        got = f"one with {', '.join(held[:6]) or 'nothing'}"
    raise ValueError(f"Expected {path} to be the folder of a search, with alpha/ or genotypes/ in it, but got {got}.")


def part(data: Any, *keys: str) -> Any:
    """What lies under some keys, one below the other, or ``None``."""
    for key in keys:
        data = data.get(key) if isinstance(data, Mapping) else None
    return data
