"""``robustnas fit``, ``validate`` and ``test``: LightningCLI, with a folder for each run."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from jsonargparse import ArgumentError
from lightning_fabric.plugins import CheckpointIO
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.model_helpers import is_overridden

import robustnas.variants  # noqa: F401  YAML files name its classes without the module
from robustnas.cli.errors import CommandLineError, check_linked, checked, explain
from robustnas.cli.options import LINKS, OF_LIGHTNING, PlainHelp, seed
from robustnas.cli.save_config import SaveConfig
from robustnas.data import ImageData
from robustnas.diagnostics import Diagnostics
from robustnas.runs.run_lock import held, new_folder, starting_point
from robustnas.runtime.environment import RUN, check_variables
from robustnas.runtime.launch import check_launch, count_processes, is_one_of_several, resume_command
from robustnas.runtime.paths import expand
from robustnas.runtime.precision import Matmul, matmul_precision
from robustnas.runtime.safe_files import check_numbers
from robustnas.runtime.trust import only_trusted, own_message
from robustnas.training import SearchModule
from robustnas.training.changes import options_of
from robustnas.training.checkpointing import AtomicCheckpoints, LastCheckpoint, check_checkpoint, readable
from robustnas.training.checks import check_fit, check_precision, check_trainer
from robustnas.training.lightning.events import failed_writes_once
from robustnas.training.lightning.loggers import RunLogger, TensorBoardLogger
from robustnas.training.module import Module
from robustnas.training.recorder import check_manifest

Step = Literal["parsing", "instantiation"]
LIMIT = int | float | None  # in this order: typing's own `Optional` has the order that came first in the process
LOGGERS = RunLogger | Logger | Iterable[RunLogger | Logger] | bool | None  # a name means the first class that has it


class RobustCLI(LightningCLI):
    """LightningCLI for searches and evaluations.

    The number of classes, the channels and the task come from the data, the seed of everything from
    ``seed_everything``. A run has a folder: ``--run-dir``, or a new one under ``runs/``.
    """

    def __init__(
        self,
        *args: Any,
        again: str | None = None,  # the command that resumes, where this run is only a part of its work
        stop_after: Step | None = None,  # for the configuration, or the model and the data: nothing is run or written
        callbacks: Sequence[Callback] = (),  # beside those of the configuration
        **options: Any,
    ) -> None:
        self.again, self.stop_after, self.callbacks = again, stop_after, list(callbacks)
        self.arguments = list(options["args"]) if isinstance(options["args"], list) else None
        with ExitStack() as self.precision:  # a process-wide setting, restored after this run
            super().__init__(*args, **options)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument(
            "--run-dir", type=str | None, default=None, help="Folder of the run; by default a new one under runs/."
        )
        parser.add_argument(
            "--matmul_precision",
            type=Matmul | None,
            default=None,
            help="Precision of float32 matrix products: highest (full), high (TF32 on GPUs), medium (bfloat16 on CPUs "
            "too). Default: torch's own setting, with TF32 in convolutions on GPUs.",
        )
        parser.add_argument(
            "--checkpoint_every", type=int, default=0, help="Steps between checkpoints within an epoch; 0 for none."
        )
        parser.add_lightning_class_args(Diagnostics, "diagnostics")
        for argument, read in LINKS.items():
            parser.link_arguments("data", f"model.init_args.{argument}", compute_fn=read, apply_on="instantiate")
        for part in ("model", "data"):
            parser.link_arguments("seed_everything", f"{part}.init_args.seed", compute_fn=seed)

    def _add_subcommands(self, parser: LightningArgumentParser, **kwargs: Any) -> None:
        known = LightningCLI.subcommands()
        asked = "fit" if self.arguments is None else next(iter(self.arguments), "")
        if asked in known:  # the parsers of the others would take longer than the rest of the start
            setattr(self, "subcommands", lambda: {asked: known[asked]})  # noqa: B010  mypy knows it as a method
        super()._add_subcommands(parser, **kwargs)

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        for action in parser._actions:
            action.help = OF_LIGHTNING.get(action.dest, action.help)
            if action.dest == "trainer.logger":
                vars(action)["_typehint"] = LOGGERS
            elif vars(action).get("_typehint") == LIMIT:
                vars(action)["_typehint"] = LIMIT
        return parser

    def _parse_ckpt_path(self) -> None:
        """Do nothing: checkpoints hold no command-line options, and are checked once the model exists."""

    def _set_seed(self) -> None:
        if self.stop_after != "parsing":
            super()._set_seed()

    def instantiate_classes(self) -> None:
        """Instantiate all classes, and refuse arguments of the model that contradict the data."""
        if self.stop_after == "parsing":
            return
        if self.stop_after is not None:
            self.config[self.subcommand].trainer.logger = False  # some write as soon as they exist
        super().instantiate_classes()
        given = self.config[self.subcommand].model.init_args
        for argument, read in LINKS.items():
            check_linked(type(self.model), argument, given.get(argument), read(self.datamodule))

    def before_instantiate_classes(self) -> None:
        if self.stop_after is not None:
            return
        config, fitting = self.config[self.subcommand], self.subcommand == "fit"
        if not hasattr(config.trainer, "precision"):
            raise CommandLineError(f"Expected `trainer` to be options with their values, but got {config.trainer}.")
        check_numbers({name: value for name, value in config.as_dict().items() if name != "config"})
        check_precision(config.trainer.precision)
        check_launch(count_processes(config.trainer), int(config.trainer.num_nodes))
        self.precision.enter_context(matmul_precision(config.matmul_precision))
        for name, option in (("run_dir", "--run-dir"), ("ckpt_path", "--ckpt_path")):
            if config.get(name) == "":
                raise CommandLineError(f"Expected `{option}` to be a path, but got ''.")
            if config.get(name):
                config[name] = str(expand(config[name], option))
        checkpoint = config.get("ckpt_path")
        folder = config.run_dir or os.environ.get(RUN)
        if folder is None and checkpoint not in (None, "last", "auto"):
            folder = str(Path(checkpoint).parent)
        if folder is None and checkpoint is not None:
            raise ValueError(
                "Expected `--run-dir` to name the run whose last checkpoint is to be loaded, but got none."
            )
        if checkpoint is None and not fitting:
            raise ValueError("Expected `--ckpt_path` to name the checkpoint to evaluate, but got none.")
        self.folder = Path(folder or _new_folder(config))
        os.environ[RUN] = str(self.folder)  # for the processes that Lightning starts
        self.asked, self.checkpoint = checkpoint, starting_point(self.folder, checkpoint, readable, writes=fitting)
        config.ckpt_path = None if self.checkpoint is None else str(self.checkpoint)
        if self.checkpoint is not None and not self.checkpoint.is_file():
            found = "{} is a folder" if self.checkpoint.is_dir() else "there is no file {}"
            raise ValueError(f"Expected `--ckpt_path` to be a checkpoint, but {found.format(self.checkpoint)}.")
        if fitting:
            arguments = self.arguments or ["fit", "-c", str(self.folder / "config.yaml")]
            again = self.again or resume_command(arguments, "--run-dir", str(self.folder), "--ckpt_path", "last")
            saver = LastCheckpoint(self.folder, config.checkpoint_every, again, self.again is not None)
            self.trainer_defaults["callbacks"] = [saver, *self.callbacks]
        else:
            self.save_config_callback = None  # the folder keeps the configuration of the training

    def fit(self, **arguments: Any) -> None:
        """Train while holding the lock of the run's folder."""
        writes = self.trainer.is_global_zero  # known already, whichever launcher is used
        with held(self.folder) if writes else nullcontext():
            if writes and self.checkpoint is None:
                starting_point(self.folder, self.asked, readable)  # check again, now under the lock
            self._open_loggers()
            self.trainer.fit(**arguments)

    def _open_loggers(self) -> None:
        for logger in self.trainer.loggers if self.trainer.is_global_zero else ():
            if isinstance(logger, RunLogger):
                logger.open()

    def before_fit(self) -> None:
        """Check trainer, data and checkpoint before anything is written to the folder."""
        self.datamodule.trainer = self.trainer  # for the number of processes
        check_trainer(self.trainer)
        self.datamodule.setup("fit")
        run = {"max_epochs": self.trainer.max_epochs, "precision": self.trainer.precision}
        check_fit(self.model, SimpleNamespace(**run, datamodule=self.datamodule), "fit")  # type: ignore[arg-type]
        if self.checkpoint is not None:
            given = options_of(self.model, self.trainer, self.datamodule)
            check_checkpoint(self.checkpoint, self.model, self.trainer, given)
            check_manifest(self.checkpoint)

    def before_validate(self) -> None:
        if self.checkpoint is not None:
            check_checkpoint(self.checkpoint, self.model, self.trainer)
        self._open_loggers()

    def before_test(self) -> None:
        self.before_validate()
        if not is_overridden("test_step", self.model):
            raise ValueError(
                f"Expected `model` to be an evaluation, since a search never sees the test set, "
                f"but got {type(self.model).__name__}; `robustnas evaluate` trains and tests what it found."
            )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        if self.stop_after is not None:
            return Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
        config = self.config[self.subcommand].trainer
        kwargs.setdefault("default_root_dir", str(self.folder.absolute()))  # Lightning expands a `~` of a relative one
        kwargs.setdefault("use_distributed_sampler", False)  # the data loaders shard by themselves
        if config.logger in (None, True):
            kwargs.setdefault("logger", TensorBoardLogger(self.folder.absolute()))
        plugins = self.config_init[self.subcommand].trainer.plugins or []
        plugins = plugins if isinstance(plugins, list) else [plugins]
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            kwargs.setdefault("plugins", [*plugins, AtomicCheckpoints()])
        if isinstance(self.model, SearchModule) and config.strategy == "auto" and count_processes(config) > 1:
            kwargs.setdefault("strategy", "flat")
        try:
            return super().instantiate_trainer(**kwargs)
        except (ValueError, TypeError, MisconfigurationException) as error:
            raise _of_trainer(error) from error

    def _run_subcommand(self, subcommand: str) -> None:
        if self.stop_after is not None:
            return
        try:
            super()._run_subcommand(subcommand)
        except MisconfigurationException as error:
            raise _of_trainer(error) from error


@failed_writes_once()
@only_trusted()
def main(arguments: list[str] | Mapping[str, Any], **options: Any) -> RobustCLI:
    """Run ``fit``, ``validate`` or ``test`` by options, or ``fit`` by a configuration: its sections by name."""
    _quiet()
    check_variables()
    child = "LOCAL_RANK" in os.environ
    exact = {"allow_abbrev": False, "formatter_class": PlainHelp}  # a misspelt option must not match another one
    try:
        return RobustCLI(
            Module,
            ImageData,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            save_config_callback=SaveConfig,
            parser_kwargs={"exit_on_error": False, **exact, **{name: dict(exact) for name in RobustCLI.subcommands()}},
            trainer_defaults={"enable_model_summary": False},
            args=checked(arguments) if isinstance(arguments, list) else _fit(arguments),
            **options,
        )
    except ArgumentError as error:
        raise CommandLineError(explain(str(error))) from error
    except ValueError as error:
        own = own_message(str(error))
        if own is None and "Does not validate against any of the Union" in str(error):  # while the classes are built
            raise CommandLineError(explain(str(error))) from error
        kind = CommandLineError if isinstance(error, CommandLineError) else ValueError
        raise kind(own or str(error)) from error
    finally:
        if not child:
            os.environ.pop(RUN, None)


def _fit(sections: Mapping[str, Any]) -> dict[str, Any]:
    return {"subcommand": "fit", "fit": deepcopy(dict(sections))}  # jsonargparse changes lists of classes in it


def _quiet() -> None:
    """Silence messages of Lightning that do not concern the user."""
    for logger in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.seed"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning.loggers.mlflow").setLevel(logging.ERROR)  # each new experiment is a warning
    for said in (
        r"LightningCLI's args parameter",  # the dispatcher hands the arguments on
        r"`isinstance\(treespec, LeafSpec\)`",  # Lightning 2.6 with torch 2.13
        r"The '\w+' does not have many workers",  # data live in memory
        r"The number of training batches",  # small data have few batches
        r"The following callbacks returned in",  # testing after training meets the recorder again
    ):
        warnings.filterwarnings("ignore", said)


def _new_folder(config: Any) -> str:
    if is_one_of_several() or int(config.trainer.num_nodes) > 1:
        raise ValueError("Expected `--run-dir` to be given for a run with several processes, but got none.")
    names = (str(config[part].class_path).rpartition(".")[2].lower() for part in ("model", "data"))
    return str(new_folder("-".join(names)))


def _of_trainer(error: Exception) -> ValueError:
    says = " ".join(str(error).split())
    expected = "Expected `trainer` to be valid on this machine"
    return ValueError(own_message(says) or f"{expected}, but Lightning reports: {says}")
