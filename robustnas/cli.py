"""``robustnas fit``, ``validate`` and ``test``: LightningCLI, with a folder for each run."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from jsonargparse import ArgumentError
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities.model_helpers import is_overridden

from robustnas.data import ImageData
from robustnas.options import explain, own_sentence
from robustnas.training import SearchModule
from robustnas.training.checks import check_fit, check_precision
from robustnas.training.description import KEY
from robustnas.training.module import Module

LINKS = {"num_classes": lambda data: data.num_classes, "image_channels": lambda data: data.image_shape[0]}
NAMED = ("robustnas.variants", "robustnas.diagnostics")  # rooms whose classes a YAML file can name shortly
LINKS["task"] = lambda data: data.task


class RobustCLI(LightningCLI):
    """LightningCLI for searches and evaluations.

    The number of classes, the channels and the task come from the data, the seed of everything from
    ``seed_everything``. A run has a folder: ``--run``, or a new one under ``runs/``.
    """

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--run", type=str | None, default=None, help="Folder of the run (default: new, in runs/).")
        parser.add_lightning_class_args(importlib.import_module(NAMED[1]).Diagnostics, "diagnostics")
        for argument, read in LINKS.items():
            parser.link_arguments("data", f"model.init_args.{argument}", compute_fn=read, apply_on="instantiate")
        for part in ("model", "data"):
            parser.link_arguments("seed_everything", f"{part}.init_args.seed", compute_fn=_seed)

    def _parse_ckpt_path(self) -> None:
        """Checkpoints hold no options of the command line, and are checked once the model is there."""

    def before_instantiate_classes(self) -> None:
        config, fitting = self.config[self.subcommand], self.subcommand == "fit"
        check_precision(config.trainer.precision)
        checkpoint = config.get("ckpt_path")
        folder = config.run or os.environ.get("ROBUSTNAS_RUN")
        if folder is None and checkpoint not in (None, "last"):
            folder = str(Path(checkpoint).parent)
        if folder is None and checkpoint == "last":
            raise ValueError("Expected `--run` to name the run whose last checkpoint is meant, but got none.")
        if checkpoint is None and not fitting:
            raise ValueError("Expected `--ckpt_path` to name the checkpoint to measure, but got none.")
        if folder is None:
            folder = _new_folder(config)
        elif fitting and checkpoint is None and "LOCAL_RANK" not in os.environ and _holds_run(Path(folder)):
            raise ValueError(
                f"Expected `--run` to be a new folder, but {folder} holds a run; "
                f"`--ckpt_path last` continues it, another folder starts anew."
            )
        os.environ["ROBUSTNAS_RUN"] = folder  # the processes that Lightning starts share the folder
        self.folder = Path(folder)
        if checkpoint == "last":
            config.ckpt_path = checkpoint = str(self.folder / "last.ckpt")
        last = ModelCheckpoint(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
        self.trainer_defaults["callbacks"] = [last]
        if not fitting:
            self.save_config_callback = None  # the folder keeps the configuration that trained
        if checkpoint is not None and not Path(checkpoint).is_file():
            raise ValueError(f"Expected `--ckpt_path` to be a checkpoint, but there is no file {checkpoint}.")

    def before_fit(self) -> None:
        """Refuse what the trainer would, but before it leaves anything in the folder."""
        self.before_validate()
        self.datamodule.setup("fit")
        run = {"max_epochs": self.trainer.max_epochs, "precision": self.trainer.precision}
        check_fit(self.model, SimpleNamespace(**run, datamodule=self.datamodule), "fit")  # type: ignore[arg-type]
        for stream, roles in self.model.training_streams.items():
            self.datamodule.loader(*roles, training=True, stream=stream)

    def before_validate(self) -> None:
        if (checkpoint := self.config[self.subcommand].ckpt_path) is not None:
            _check_checkpoint(checkpoint, self.model)

    def before_test(self) -> None:
        self.before_validate()
        if not is_overridden("test_step", self.model):
            raise ValueError(
                f"Expected `model` to be an evaluation, since a search never sees the test set, "
                f"but got {type(self.model).__name__}; `robustnas evaluate` trains and tests what it found."
            )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        config = self.config[self.subcommand].trainer
        kwargs.setdefault("default_root_dir", str(self.folder))
        kwargs.setdefault("use_distributed_sampler", False)  # the loaders know their process themselves
        if config.logger in (None, True):
            folder = self.folder.absolute()
            kwargs.setdefault("logger", _Events(folder.parent, folder.name, "", default_hp_metric=False))
        if isinstance(self.model, SearchModule) and config.strategy == "auto" and processes(config) > 1:
            kwargs.setdefault("strategy", "flat")
        try:
            return super().instantiate_trainer(**kwargs)
        except (ValueError, MisconfigurationException) as error:
            raise ValueError(f"Expected `trainer` to be one that can run here, but Lightning says: {error}") from error


class Described(RobustCLI):
    """The model and the data of a configuration, without a run: no folder is made, and nothing is trained."""

    def before_instantiate_classes(self) -> None:
        """There is no folder to make."""

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        return Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")

    def _run_subcommand(self, subcommand: str) -> None:
        """Nothing is run."""


def main(arguments: list[str], run: type[RobustCLI] = RobustCLI) -> RobustCLI:
    """Run ``fit``, ``validate`` or ``test``.

    Args:
        arguments: The subcommand and its options.
        run: What is done with them.

    Returns:
        What was run, with its ``model``, ``datamodule``, ``trainer`` and ``folder``.

    Raises:
        ValueError: If an option is unknown or wrong, or the run cannot start.
    """
    _quiet()
    for name in NAMED:
        importlib.import_module(name)
    child = "LOCAL_RANK" in os.environ
    exact = {"allow_abbrev": False}  # a misspelt option must not pass for another one
    try:
        return run(
            Module,
            ImageData,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"exit_on_error": False, **exact, **{name: dict(exact) for name in RobustCLI.subcommands()}},
            trainer_defaults={"enable_model_summary": False},
            args=arguments,
        )
    except ArgumentError as error:
        raise ValueError(explain(str(error))) from error
    except ValueError as error:
        raise ValueError(own_sentence(str(error)) or str(error)) from error
    finally:
        if not child:
            os.environ.pop("ROBUSTNAS_RUN", None)


def _quiet() -> None:
    """Silence what Lightning says about itself and about what is meant to be so."""
    for logger in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.seed"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    for said in (
        r"LightningCLI's args parameter",  # the dispatcher hands the arguments on
        r"The dirpath has changed",  # `robustnas select` goes on from a checkpoint in a folder of its own
        r"Checkpoint directory .* exists and is not empty",  # the configuration lies there already
        r"`isinstance\(treespec, LeafSpec\)`",  # Lightning 2.6 with torch 2.13
        r"The '\w+' does not have many workers",  # data live in memory
        r"The number of training batches",  # small data have few batches
        r"The following callbacks returned in",  # testing after training meets the recorder again
    ):
        warnings.filterwarnings("ignore", said)


class _Events(TensorBoardLogger):
    """Curves for TensorBoard; ``config.yaml`` holds what its ``hparams.yaml`` would."""

    def save(self) -> None:
        self.experiment.flush()


def new_folder(name: str) -> Path:
    """A folder under ``runs/`` that does not exist yet: ``name`` with the next number.

    Args:
        name: What the run is.

    Returns:
        The folder, not made.
    """
    number = 1
    while Path("runs", f"{name}-{number:03d}").exists():
        number += 1
    return Path("runs", f"{name}-{number:03d}")


def _new_folder(config: Any) -> str:
    if any(name in os.environ for name in ("LOCAL_RANK", "SLURM_PROCID")):
        raise ValueError("Expected `--run` to name the folder of a run of many processes, but got none.")
    return str(
        new_folder("-".join(str(config[part].class_path).rpartition(".")[2].lower() for part in ("model", "data")))
    )


def _check_checkpoint(path: str, model: Module) -> None:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        weights, held = checkpoint["state_dict"], str(checkpoint[KEY]["module"]["class_path"])
    except Exception as error:  # a damaged file can raise nearly anything
        reason = " ".join([f"{type(error).__name__}:", *str(error).splitlines()[:1]])
        raise ValueError(
            f"Expected `--ckpt_path` to be a checkpoint of robustnas, but reading {path} fails with {reason}"
        ) from error
    name = type(model).__name__
    if held.rpartition(".")[2] != name:
        held = held.rpartition(".")[2]
        raise ValueError(
            f"Expected `--ckpt_path` to hold a search or evaluation by {name}, but {path} holds one by {held}."
        )
    own = model.state_dict()
    shapes = [{key: getattr(value, "shape", None) for key, value in state.items()} for state in (own, weights)]
    other = [key for key in {**own, **weights} if shapes[0].get(key, 0) != shapes[1].get(key, 0)]
    if other:
        raise ValueError(
            f"Expected `--ckpt_path` to hold the network that the options describe, but {path} holds another one, "
            f"which differs in {other[0]}; the config.yaml beside it describes it."
        )


def _seed(value: bool | int) -> int:
    if isinstance(value, bool) or not 0 <= value < 2**32:
        raise ValueError(f"Expected `seed_everything` to be a number from 0 to {2**32 - 1}, but got {value}.")
    return value


def _holds_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("manifest.json", "config.yaml", "last.ckpt"))


def processes(config: Any) -> int:
    """How many processes a trainer is to have.

    Args:
        config: Its options.

    Returns:
        Devices times nodes.
    """
    devices = config.devices
    if isinstance(devices, str) and devices.isdigit():
        count = int(devices)
    elif isinstance(devices, int) and devices >= 0:
        count = devices
    elif isinstance(devices, list):
        count = len(devices)
    else:
        on_gpus = config.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        count = torch.cuda.device_count() if on_gpus else 1
    return count * int(config.num_nodes)
