"""What a search and an evaluation share: checks before they start, a record, a checkpoint that describes itself."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pytorch_lightning import Callback, LightningModule
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from typing_extensions import Self

from robustnas.data import Batch, Role
from robustnas.training.bf16 import slow_bf16
from robustnas.training.changes import Change, Options, carry, changes_of, options_of, sentences
from robustnas.training.checks import check_fit, without_effect
from robustnas.training.description import KEY, describe, load
from robustnas.training.finite import Finite, Named, check_saved, norm_of
from robustnas.training.lightning.loops import Place, mark_updated, of_each_process, settle_position, trainer_of
from robustnas.training.recorder import RunRecorder
from robustnas.training.replica_check import check_start
from robustnas.training.tasks import ClassWeights, Loss, SampleMean, Task, balanced_on, check_task, initial, update

_LOG = logging.getLogger(__name__)


class Module(LightningModule, ABC):
    """A search or an evaluation."""

    training_streams: Mapping[str, tuple[Role, ...]]  # roles that each stream of training batches draws from, by name
    losses: ClassVar[tuple[str, ...]] = ("train",)
    optimizer_options: ClassVar[Mapping[str, tuple[int, str]]] = {  # an optimiser keeps: its number, the name there
        name: (0, name) for name in ("momentum", "nesterov", "weight_decay")
    }
    task: Task
    train_metrics: MetricCollection  # of the training batches of an epoch, part of every checkpoint
    class_weights: Tensor | None  # in the losses that are descended, [classes]

    def __init__(self, arguments: Mapping[str, Any]) -> None:  # the locals() of the constructor of the subclass
        super().__init__()
        given = {name: value for name, value in arguments.items() if name not in ("self", "__class__")}
        self.description = describe(self, given)  # class and arguments as plain data, which every checkpoint carries
        self.finite, self._step = Finite(), 0
        self.numbers: dict[str, float] = {}  # what was logged of the present epoch as a whole
        self.options: Options = {}  # all of the run, from the start of its training on
        self.changes: dict[str, Change] = {}  # options that differ from the checkpoint that the run is resumed from
        self.place = Place(0, 0, False)  # where that checkpoint stands
        self.resumed: dict[str, Any] = {}  # where in its epoch it stands, until the epoch ends
        self.means = MetricCollection({f"{name}/loss": SampleMean() for name in self.losses}, compute_groups=False)

    def set_task(self, task: Task, num_classes: int, weights: ClassWeights) -> None:
        """Choose what is predicted, and weights of classes; ``balanced`` ones are counted when the data are there."""
        check_task(task, num_classes)
        self.task, self.balances = task, weights == "balanced"
        self.register_buffer("class_weights", initial(weights, task, num_classes))

    @property
    def trains_on(self) -> bool:
        """Whether epochs of a selection follow those of the search."""
        return False

    @abstractmethod
    def check_images(self, images: Tensor) -> None:
        """Refuse images that the network cannot take."""

    def check(self, name: str, value: Tensor, parts: Callable[[], Named] = tuple) -> None:
        """Stop the run at a number that is not finite."""
        self.finite.check(name, value, self._step, self.current_epoch, self.trainer.is_last_batch, parts)

    def on_train_batch_start(self, *_: Any) -> None:
        self._step = self.global_step  # the trainer's own number grows in the middle of the step

    def on_train_batch_end(self, *_: Any) -> None:
        """Stop the run where a step has led out of the finite numbers, before anything is written."""
        self.check("state after the step", norm_of(self.parameters()), self.named_parameters)

    def log_loss(self, name: str, loss: Tensor, size: int) -> None:
        """Log a loss at its step and, averaged over samples and processes, at the end of the epoch."""
        mean = self.means[f"{name}/loss"]
        mean.update(loss, size)
        self.log(f"{name}/loss_step", loss.detach(), on_step=True, on_epoch=False, batch_size=size)
        self.log(f"{name}/loss", mean, on_step=False, on_epoch=True, batch_size=size)

    def log_trained(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Log the loss of a training batch, and how well it is predicted."""
        update(self.train_metrics, self.task, outputs, targets)
        self.log_loss("train", loss, len(targets))
        self.log("loss", loss.detach(), prog_bar=True, logger=False, on_epoch=False, batch_size=len(targets))
        self.log_dict(self.train_metrics, on_step=False, on_epoch=True, batch_size=len(targets))

    def log_measured(self, stage: str, metrics: MetricCollection, loss: Loss, batch: Batch) -> None:
        """Log how well a batch is predicted that is not trained on."""
        outputs = self(batch.images)
        update(metrics, self.task, outputs, batch.targets)
        self.log(f"{stage}/loss", loss(outputs, batch.targets), batch_size=len(batch.targets), sync_dist=True)
        self.log_dict(metrics, prog_bar=True, batch_size=len(batch.targets))

    def log_numbers(self, numbers: Mapping[str, float]) -> None:
        """Log what describes an epoch as a whole, at its last step."""
        self.numbers = {**self.numbers, **numbers}
        self.log_dict(dict(numbers), on_step=False, on_epoch=True, batch_size=1)

    def on_train_epoch_start(self) -> None:
        """Count anew; Lightning does not call this when it continues inside an epoch."""
        self.train_metrics.reset()
        self.means.reset()
        self.numbers, self.resumed = {}, {}

    def setup(self, stage: str) -> None:
        check_fit(self, self.trainer, stage)
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit":
            self.options = options_of(self, self.trainer, data)
        check_start(self.trainer, self.description, self.options)
        if stage == "fit":
            if self.balances and self.class_weights is not None:
                roles = {role for roles in self.training_streams.values() for role in roles}
                self.class_weights.copy_(balanced_on(data, roles))
            for said in [*without_effect(self, self.trainer.max_epochs or 1), *slow_bf16(self)]:
                rank_zero_only(_LOG.warning)(said)

    def configure_callbacks(self) -> list[Callback]:
        return [RunRecorder()]

    def on_train_start(self) -> None:
        """Go on where each process was; with another number of them, one continues what was counted on all."""
        processes = self.resumed.get("processes", [])
        if self.trainer.world_size == len(processes):
            self.load_state_dict(processes[self.global_rank], strict=False)
        elif self.global_rank > 0:
            self.train_metrics.reset()
            self.means.reset()
        if self.resumed.get("validation"):  # no step follows that would log them
            for metrics in (self.train_metrics, self.means):
                for metric in metrics.values(copy_state=False):
                    mark_updated(metric)  # what it holds was counted, before the interruption
            for held in (self.train_metrics, {name: self.means[name] for name in self.resumed["counted"]}):
                self.log_dict(held, on_step=False, on_epoch=True, batch_size=1)
            self.log_numbers(self.numbers)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.resumed = dict(checkpoint[KEY].get("position", {}))
        self.numbers = dict(self.resumed.get("numbers", {}))
        counts = {name: checkpoint["state_dict"].get(f"means.{name}.count", 0) for name in self.means}
        self.resumed["counted"] = [name for name, count in counts.items() if count > 0]  # α may not have moved yet
        if trainer_of(self) is None or self.trainer.state.fn != TrainerFn.FITTING:
            return
        self.changes, self.place = changes_of(checkpoint, self.options, self.trains_on), Place.of(checkpoint)
        carry(self, checkpoint, self.changes, self.optimizer_options)
        for said in sentences(self.changes, checkpoint, self.options):
            rank_zero_only(_LOG.warning)(said)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        check_saved(self, checkpoint.get("optimizer_states", ()))
        position: dict[str, Any] = {"numbers": self.numbers, "processes": of_each_process(self)}
        if trainer_of(self) is not None:
            position["validation"] = settle_position(self.trainer, checkpoint)
        checkpoint[KEY] = {"module": self.description, "options": self.options, "position": position}
        state = checkpoint["state_dict"]
        for path, metric in self.named_modules():
            if isinstance(metric, Metric):
                with metric.sync_context():
                    counted = metric.state_dict(prefix=f"{path}.")
                for name, value in counted.items():  # several processes join lists to one tensor
                    state[name] = [value] if isinstance(state[name], list) and isinstance(value, Tensor) else value

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: str | Path, **_: Any) -> Self:  # type: ignore[override]
        """The module that a checkpoint holds, with its weights, on the CPU; nothing in the file is executed."""
        return load(checkpoint_path, cls)
