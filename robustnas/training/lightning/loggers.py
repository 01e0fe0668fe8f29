"""Loggers that write into the folder of their run without being told, and go on where a resumed run does.

``CSVLogger``, ``MLFlowLogger``, ``TensorBoardLogger`` and ``WandbLogger`` in a configuration mean these.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from lightning_fabric.loggers.logger import rank_zero_experiment
from pytorch_lightning import loggers
from pytorch_lightning.utilities import rank_zero_only

from robustnas.runs.record import read_json, write_json
from robustnas.runtime.csv_files import read_csv
from robustnas.runtime.environment import RUN

IDENTITIES = "loggers.json"  # in the folder of a run: under which id each server knows it
PROJECT = "robustnas"


class RunLogger(loggers.Logger):
    """A logger of Lightning whose folder and names are those of the run, and which logs a figure of a step once."""

    package: ClassVar[str] = ""  # what it needs beyond the base installation

    def __init__(self, **options: Any) -> None:
        if self.package and find_spec(self.package) is None:
            raise ValueError(
                f"Expected the package of {type(self).__name__} to be installed, but there is no {self.package}; "
                f'`pip install "robustnas[loggers]"` installs it.'
            )
        super().__init__(**options)
        self._logged: dict[str, int] = {}  # what `settle` logged before a checkpoint, Lightning logs after it

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log what is not logged at this step already."""
        if step is not None:
            metrics = {name: value for name, value in metrics.items() if self._logged.get(name) != step}
            self._logged.update(dict.fromkeys(metrics, step))
        if metrics:
            super().log_metrics(dict(metrics), step)  # type: ignore[safe-super]

    def open(self) -> None:
        """Begin before the run does, where a server or an account may be missing; files begin with what they hold."""

    def go_on(self, step: int) -> bool:
        """Take back what an interrupted run has logged from a step on; whether this logger can."""
        return False


class TensorBoardLogger(RunLogger, loggers.TensorBoardLogger):
    """Event files, to which records are only ever added; ``config.yaml`` holds what their ``hparams.yaml`` would.

    Args:
        save_dir: Folder of the files; by default that of the run.
        name: A folder in it.
        version: A folder in that.
        **options: Arguments of Lightning's ``TensorBoardLogger``.
    """

    def __init__(
        self, save_dir: str | Path | None = None, name: str = "", version: int | str = "", **options: Any
    ) -> None:
        options.setdefault("default_hp_metric", False)
        super().__init__(save_dir=str(_folder(save_dir)), name=name, version=version, **options)

    @property
    def log_dir(self) -> str:
        """The folder as it is named; Lightning's own would take ``$HOME`` in it for something else."""
        version = self.version
        return str(Path(self.root_dir, version if isinstance(version, str) else f"version_{version}"))

    def save(self) -> None:
        self.experiment.flush()

    def go_on(self, step: int) -> bool:
        self._mark_invalid(step)
        return True

    @rank_zero_only
    def _mark_invalid(self, step: int) -> None:
        """Mark what was logged from a step on as invalid, so that TensorBoard shows every point once."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        writer: Any = self.experiment._get_file_writer()
        writer.add_event(Event(step=step, file_version="brain.Event:2"))
        writer.add_event(Event(step=step, session_log=SessionLog(status=SessionLog.START)))


class CSVLogger(RunLogger, loggers.CSVLogger):
    """A table of what is logged, with a row for each step that logs.

    Args:
        save_dir: Folder of the table; by default that of the run.
        name: A folder in it.
        version: A folder in that.
        **options: Arguments of Lightning's ``CSVLogger``.
    """

    def __init__(
        self, save_dir: str | Path | None = None, name: str = "csv", version: int | str = "", **options: Any
    ) -> None:
        super().__init__(save_dir=str(_folder(save_dir)), name=name, version=version, **options)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Lightning's writer, which holds the rows of a table that is there already; its own deletes them."""
        if self._experiment is None:
            table = Path(self.log_dir, "metrics.csv")
            rows = _rows(table)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Experiment logs directory")
                writer: Any = loggers.CSVLogger.experiment.fget(self)  # type: ignore[attr-defined]
            writer.metrics = rows
            writer.save()
        return self._experiment

    def go_on(self, step: int) -> bool:
        self._cut(step)
        return True

    @rank_zero_only
    def _cut(self, step: int) -> None:
        """Remove the rows from a step on."""
        writer: Any = self.experiment
        writer.save()
        kept = [row for row in _rows(Path(writer.metrics_file_path)) if int(row["step"]) < step]
        Path(writer.metrics_file_path).unlink(missing_ok=True)
        writer.metrics = kept
        writer.save()


class WandbLogger(RunLogger, loggers.WandbLogger):
    """Weights & Biases: one run for each folder of a run, under its name.

    Args:
        name: Name of the run; by default that of the folder.
        save_dir: Folder in which ``wandb/`` lies; by default that of the run.
        version: Id of a run of Weights & Biases that goes on; by default a new one, or that of the folder.
        project: By default ``WANDB_PROJECT`` in the environment, or ``robustnas``.
        **options: Arguments of Lightning's ``WandbLogger``, such as ``offline``, ``entity``, ``tags`` and ``group``.
    """

    package = "wandb"
    _begun: ClassVar[list[WandbLogger]] = []  # whose run may still be open in this process

    def __init__(
        self,
        name: str | None = None,
        save_dir: str | Path | None = None,
        version: str | None = None,
        project: str | None = None,
        **options: Any,
    ) -> None:
        self.folder = _folder(save_dir)
        project = project or os.environ.get("WANDB_PROJECT") or PROJECT
        name = name or os.environ.get("WANDB_NAME") or self.folder.resolve().name
        version = version or os.environ.get("WANDB_RUN_ID") or _identity(self.folder, "wandb", project)
        options = {key: value for key, value in options.items() if value is not None}  # a parser gives all of them
        if options.get("offline"):
            options["mode"] = "offline"
        super().__init__(name=name, save_dir=str(self.folder), version=version, project=project, **options)
        self._offline = False  # it would set the mode of all later runs of the process
        if self._wandb_init["anonymous"] is None:
            del self._wandb_init["anonymous"]  # which it warns of even so

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run of Weights & Biases; one that another search of this process has left open ends before."""
        import wandb

        if self._experiment is None:
            for other in WandbLogger._begun:
                if other._experiment is not None and other._experiment is wandb.run:
                    other._experiment.finish()
            WandbLogger._begun[:] = [self]
            Path(self.folder).mkdir(parents=True, exist_ok=True)  # otherwise it writes into a folder elsewhere
            try:
                loggers.WandbLogger.experiment.fget(self)  # type: ignore[attr-defined]
            except wandb.errors.Error as error:
                raise ValueError(
                    f"Expected Weights & Biases to start a run, but it reports: {' '.join(str(error).split())} "
                    "Without an account, `--trainer.logger.offline=true` keeps the run in its folder."
                ) from error
        return self._experiment

    def open(self) -> None:
        _remember(self.folder, "wandb", str(self._project), str(self.experiment.id))


class MLFlowLogger(RunLogger, loggers.MLFlowLogger):
    """MLflow: one run for each folder of a run, under its name.

    Args:
        experiment_name: Name of the experiment, which holds runs.
        run_name: Name of the run; by default that of the folder.
        tracking_uri: Address of the server or store; by default ``MLFLOW_TRACKING_URI`` in the environment, or files in
            ``mlflow/`` of ``save_dir``.
        save_dir: By default the folder of the run.
        run_id: Id of a run of MLflow that goes on; by default a new one, or that of the folder.
        **options: Arguments of Lightning's ``MLFlowLogger``, such as ``tags``.
    """

    package = "mlflow"

    def __init__(
        self,
        experiment_name: str = PROJECT,
        run_name: str | None = None,
        tracking_uri: str | None = None,
        save_dir: str | Path | None = None,
        run_id: str | None = None,
        **options: Any,
    ) -> None:
        self.folder = _folder(save_dir)
        uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or Path(self.folder, "mlflow").absolute().as_uri()
        if uri.startswith("file:"):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3.13 and newer ask for it
        names = {"experiment_name": experiment_name, "run_name": run_name or self.folder.resolve().name}
        run_id = run_id or _identity(self.folder, "mlflow", experiment_name)
        super().__init__(tracking_uri=uri, run_id=run_id, **names, **options)

    def open(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            _ = self.experiment
        except MlflowException as error:
            if self._run_id is None or error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise ValueError(
                    f"Expected MLflow at {self._tracking_uri} to start a run, but it reports: "
                    f"{' '.join(str(error).split())}"
                ) from error
            self._run_id = None  # the store is another one, or the run was deleted
        _remember(self.folder, "mlflow", self._experiment_name, str(self.run_id))


def _folder(given: str | Path | None) -> Path:
    """The folder that a logger is given, or that of the run; otherwise the current one."""
    return Path(given or os.environ.get(RUN) or ".")


def _identities(folder: Path) -> dict[str, dict[str, str]]:
    path = folder / IDENTITIES
    found = read_json(path) if path.is_file() else {}
    if not isinstance(found, dict) or not all(isinstance(ids, dict) for ids in found.values()):
        raise ValueError(f"Expected {path} to hold an object of ids for each server, but got {found!r:.80}.")
    return found


def _identity(folder: Path, server: str, project: str) -> str | None:
    """The id under which a server knows the run of a folder in a project, or ``None``."""
    return _identities(folder).get(server, {}).get(project)


@rank_zero_only
def _remember(folder: Path, server: str, project: str, identity: str) -> None:
    known = _identities(folder)
    write_json(folder / IDENTITIES, {**known, server: {**known.get(server, {}), project: identity}})


def _rows(table: Path) -> list[dict[str, Any]]:
    """The rows of a table that say their step."""
    rows = read_csv(table).records() if table.is_file() else []
    return [row for row in rows if row.get("step", "").isdigit()]
