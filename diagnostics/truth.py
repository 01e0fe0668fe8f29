"""How good the genotype of each epoch truly is, by a table that knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from robustnas.diagnostics.diagnostic import Diagnostic

from robustnas.analysis.metrics import TRUTH
from robustnas.data import Probe
from robustnas.runs.record import write_json
from robustnas.spaces import Genotype, SearchSpace
from robustnas.tabular import Table, embedded
from robustnas.training.lightning.progress import say
from robustnas.training.recorder import run_folder
from robustnas.training.search import SearchModule

SCHEMA = 1


class TrueAccuracy(Diagnostic):
    r"""What the genotype that the search would return now reaches when it is trained by itself, by a table.

    - ``truth/accuracy``: its accuracy in the table, usually on the test set;
    - ``truth/regret``: how much better the best architecture of the table is;
    - ``truth/rank``: its place, 1 for the best.

    It is reported, and never used to select: nothing of a search reads it. A search whose true accuracy rises and then
    falls has collapsed (arXiv:1909.09656). After the search ``truth.json`` holds the same of the final genotype, with
    the best and the mean of the table to compare with: the mean is what a random architecture reaches. A search in a
    part of the table's space is compared with that part.

    Args:
        table: A CSV file, also gzipped, or a Parquet file, with a row for each architecture; or ``digits``, the table
            that comes with the package.
        accuracy: Its column of accuracies; by default its only one, or ``cifar10_test_200``.
        architecture: Its column of architectures.
        **shared: Arguments of :class:`~robustnas.diagnostics.Diagnostic`.

    Raises:
        ValueError: If the table does not hold what it should.
    """

    free = True
    on = "a table, which nothing of the search reads"

    def __init__(
        self,
        table: str | Path,
        accuracy: str | None = None,
        architecture: str = "arch",
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.source = str(table)
        self.table = Table.read_cached(table, architecture)
        self.accuracy = accuracy or self.table.usual_column
        self.table.column(self.accuracy)
        self._missing = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a table of another space before anything is trained, and say if it is that of other data."""
        super().on_fit_start(trainer, pl_module)
        if isinstance(pl_module, SearchModule):
            self.compare_within(pl_module.space)
            running: Any = trainer
            data = str(getattr(running.datamodule, "source", "unknown data"))
            if self.source == embedded.NAME and not embedded.is_task(data):
                say(trainer, f"True accuracies are those on ClutteredDigits, but this search is on {data}.")

    def compare_within(self, space: SearchSpace) -> None:
        """Compare with the architectures of a space, which is that of the table or shares some with it."""
        self.table = self.table.within(space)

    def measure(self, search: SearchModule, probe: Probe) -> dict[str, float]:
        values = self.look_up(search.genotype())
        if not values and not self._missing:
            self._missing = True
            unknown = f"{self.source} does not know every genotype of this search; of those, nothing is said."
            say(search.trainer, unknown)
        return {TRUTH.of(name): values[name] for name in ("accuracy", "regret", "rank") if name in values}

    def look_up(self, genotype: Genotype) -> dict[str, float]:
        """``accuracy``, ``regret``, ``rank`` and number ``of`` those ranked, by the table; empty if not in it."""
        try:
            rank = self.table.rank(genotype, self.accuracy)
        except ValueError:
            return {}
        accuracy, regret = (look(genotype, self.accuracy) for look in (self.table.accuracy, self.table.regret))
        return {"accuracy": accuracy, "regret": regret, "rank": rank.place, "of": rank.of}

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = run_folder(trainer)  # processes wait for each other here
        if isinstance(pl_module, SearchModule) and trainer.is_global_zero:
            write_json(folder / "truth.json", self.record(pl_module.genotype()))

    def record(self, genotype: Genotype) -> dict[str, Any]:
        """What ``truth.json`` holds of a genotype; see :meth:`look_up`."""
        best = self.table.best(self.accuracy).accuracy
        about = {"schema": SCHEMA, "table": self.source, "column": self.accuracy, "genotype": str(genotype)}
        return {**about, **self.look_up(genotype), "best": best, "mean": self.table.mean(self.accuracy)}
