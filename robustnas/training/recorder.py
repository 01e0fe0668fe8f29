"""What a run leaves: manifest, genotypes, α, metrics and the last checkpoint."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor

from robustnas.analysis.registry import own_metrics
from robustnas.plotting.cells import save_drawing
from robustnas.runs.record import Run, write_json, write_text
from robustnas.runtime.csv_files import csv_text
from robustnas.runtime.environment import environment
from robustnas.runtime.precision import settings
from robustnas.training.lightning.displays import displays

# Files that loggers get at the end of training.
ARTEFACTS = (
    "config.yaml", "manifest.json", "metrics.csv", "genotype.json", "genotype.svg", "genotype.png", "curves.svg",
    "curves.png", "verdict.json", "cost.json",
)  # fmt: skip


class RunRecorder(Callback):
    """Writes the record of a run into its folder, file by file whole or not at all.

    ``manifest.json`` at the start, where each continuation is noted; after each epoch the genotype, α and one row of
    ``metrics.csv``; at the end the final genotype. The rows travel in the checkpoint.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._seen: dict[str, Tensor] = {}
        self._since = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        rows = state_dict["rows"]
        if not all(isinstance(row, dict) and {"epoch", "step"} <= set(row) for row in rows):
            raise TypeError("rows are dicts with epoch and step")
        self.rows = list(rows)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._since = time.perf_counter()
        data: Any = getattr(trainer, "datamodule", None)
        described, run = data.describe() if hasattr(data, "describe") else None, Run(run_folder(trainer))
        weights = getattr(pl_module, "class_weights", None)
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        manifest = {
            **environment(),
            "module": getattr(pl_module, "description", None),
            "data": described,
            "class_weights": None if weights is None else weights.tolist(),
            "independent_shares": bool(getattr(getattr(pl_module, "relaxation", None), "independent", False)),
            "epochs": trainer.max_epochs,
            "precision": str(trainer.precision),
            "float32": settings(),
            "processes": trainer.world_size,
            "metrics": own_metrics(),
            "watched": [callback.describe() for callback in callbacks if hasattr(callback, "describe")],
        }
        if trainer.is_global_zero:
            place: Any = getattr(pl_module, "place", None)
            changes = {name: list(change) for name, change in getattr(pl_module, "changes", {}).items()}
            where = {"epoch": place.epochs, "step": place.steps, "changed": changes} if changes else {}
            run.write_manifest({**manifest, **_begun(run, trainer.ckpt_path, manifest, where)})

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember what is there already: what an epoch does not log stays, the same object."""
        self._seen = dict(trainer.callback_metrics)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        now = time.perf_counter()
        # Metrics first: the progress bar of the first process waits for the others to compute them too.
        values = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if "/" in name and not name.endswith(("_step", "_epoch")) and value is not self._seen.get(name)
        }
        epoch, run = trainer.current_epoch, Run(run_folder(trainer))
        self.rows.append({"epoch": epoch, "step": trainer.global_step, "seconds": now - self._since, **values})
        self._since = now
        if not trainer.is_global_zero:
            return
        write_text(run.path / "metrics.csv", csv_text(self.rows))
        search: Any = pl_module
        if hasattr(search, "alphas"):
            run.write_alpha(epoch, {kind: alpha.detach().cpu().numpy() for kind, alpha in search.alphas.items()})
            run.write_genotype(search.genotype(), epoch)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        search: Any = pl_module
        run = Run(run_folder(trainer))
        if trainer.is_global_zero and hasattr(search, "alphas"):
            genotype = search.genotype()
            run.write_genotype(genotype)
            for name in ("genotype.svg", "genotype.png"):
                save_drawing(genotype, run.path / name, search.space)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hand the files to the loggers; the callbacks of the trainer have written theirs."""
        folder = run_folder(trainer)  # processes wait for each other here
        for display in displays(trainer):
            for path in (folder / name for name in ARTEFACTS):
                if path.is_file():
                    display.file(path)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = run_folder(trainer)
        measured = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("test/")}
        count = sum(parameter.numel() for parameter in pl_module.parameters())
        if trainer.is_global_zero:
            write_json(folder / "test.json", {"parameters": count, **measured})
        for display in displays(trainer):
            display.file(folder / "test.json")


def check_manifest(checkpoint: Path) -> None:
    """Refuse to go on in a folder whose ``manifest.json`` cannot be read: what it says of the start would be lost."""
    run = Run(checkpoint.parent)
    if not (run.path / "manifest.json").exists():
        return
    if not isinstance(held := run.manifest.get("continued", []), list):
        raise ValueError(
            f"Expected `continued` in {run.path / 'manifest.json'} to be a list, but got a {type(held).__name__}."
        )


def _begun(run: Run, checkpoint: Any, manifest: dict[str, Any], where: dict[str, Any]) -> dict[str, Any]:
    """When and how a run was started that goes on in its own folder, and when and how it was continued."""
    if checkpoint is None:
        return {}
    if Path(checkpoint).parent.resolve() != run.path.resolve():
        return {"resumed": {"checkpoint": str(checkpoint), **where}}
    names = ("started", "command")
    try:
        before = run.manifest
    except ValueError:
        return {}
    continued = [*before.get("continued", ()), {**{name: manifest[name] for name in names}, **where}]
    return {**{name: before.get(name) for name in names}, "continued": continued}


def run_folder(trainer: Trainer) -> Path:
    """The folder of a run, for which all processes must ask: that of TensorBoard's logger, else the trainer's."""
    own = next((logger.log_dir for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)), None)
    folder = Path(trainer.strategy.broadcast(own or trainer.default_root_dir))
    tables = [Path(logger.log_dir).resolve() for logger in trainer.loggers if isinstance(logger, CSVLogger)]
    if folder.resolve() in tables:
        raise ValueError(
            f"Expected `logger` to write into a folder of its own, but CSVLogger and the record of the run both "
            f"write metrics.csv into {folder}; give it a `name`."
        )
    return folder
