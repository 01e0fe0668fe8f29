"""How the supernet does at given weights of operations, on samples that neither step uses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from pytorch_lightning import Trainer
from torch import Tensor

from robustnas.data import ImageData, Role
from robustnas.data.batch import Batch, derived_seed
from robustnas.networks.batchnorm_statistics import evaluating, frozen_batchnorm_statistics
from robustnas.runtime.precision import full_precision
from robustnas.strategies.decisions import Score
from robustnas.training.processes import average
from robustnas.training.tasks import Task, loss_of

Outputs = Callable[[Tensor], Tensor]


class Scoring:
    """Measures a network on all samples of the role ``selection``, or of ``arch`` where that is empty, unaugmented."""

    def __init__(
        self, trainer: Trainer, network: torch.nn.Module, task: Task, batch_statistics: bool, seed: int
    ) -> None:
        self.trainer, self.network, self.task = trainer, network, task
        self.batch_statistics, self.seed = batch_statistics, seed
        self.data = image_data(trainer)
        self.loss = loss_of(task)
        role: Role = "selection" if len(self.data.split.indices["selection"]) else "arch"
        self.images, indices = self.data.split.part(role), self.data.split.union(role)
        order = torch.randperm(len(indices), generator=torch.Generator().manual_seed(derived_seed(seed, "scoring")))
        # In the order of a data set sorted by class, statistics of a batch would be those of a class.
        own = indices[order][trainer.global_rank :: trainer.world_size]
        count, limit = -(-len(own) // self.data.eval_batch_size), trainer.limit_val_batches
        most = limit if isinstance(limit, int) else int(limit * count)
        self.places = own.tensor_split(count)[: max(most, 1)] if count else ()

    @torch.no_grad()
    def __call__(self, outputs_of: Outputs) -> Score:
        """Accuracy (of labels, or the negative squared error) and loss, averaged over the samples of all processes."""
        sums = torch.zeros(3, dtype=torch.float64)
        devices = [self.device] if self.device.type == "cuda" else []
        of_trainer = self.trainer.precision_plugin.val_step_context()
        mode = frozen_batchnorm_statistics(self.network) if self.batch_statistics else evaluating(self.network)
        with torch.random.fork_rng(devices), mode, of_trainer, full_precision(self.device.type):
            torch.manual_seed(derived_seed(self.seed, "drawn"))  # operations may draw
            for batch in self._batches():
                outputs = outputs_of(batch.images)
                size = len(batch.targets)
                loss = float(self.loss(outputs, batch.targets))
                sums += torch.tensor([size, size * self._goodness(outputs, batch.targets, loss), size * loss])
        size, good, loss = average([sums.to(self.device)])[0].tolist()
        return Score(-math.inf if math.isnan(good) else good / size, math.inf if math.isnan(loss) else loss / size)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.trainer.strategy.root_device

    def _batches(self) -> Iterator[Batch]:
        for chosen in self.places:
            batch = Batch(self.images.pixels[chosen], self.images.targets[chosen], torch.tensor(0))
            batch = self.data.prepare(self.data.transfer_batch_to_device(batch, self.device, 0), augment=False)
            yield batch._replace(images=self.trainer.precision_plugin.convert_input(batch.images))

    def _goodness(self, outputs: Tensor, targets: Tensor, loss: float) -> float:
        if self.task == "classification":
            return float((outputs.argmax(dim=-1) == targets).double().mean())
        if self.task == "multilabel":
            return float(((outputs > 0) == (targets > 0.5)).double().mean())
        return -loss


def image_data(trainer: Trainer, does: str = "LargestDrop scores operations", role: Role = "selection") -> ImageData:
    """The data module of a trainer."""
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, ImageData):
        raise ValueError(
            f"Expected `datamodule` to be an ImageData, on whose role {role} {does}, but got {type(data).__name__}."
        )
    return data
