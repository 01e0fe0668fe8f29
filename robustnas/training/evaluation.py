"""The evaluation: train a network from scratch and test it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from robustnas.data import ImageData, Role
from robustnas.data.batch import Batch, derived_seed
from robustnas.training.architecture import Architecture
from robustnas.training.checks import check_below_one, check_momentum, check_not_negative, check_positive
from robustnas.training.description import KEY
from robustnas.training.finite import norm_of
from robustnas.training.lightning.loops import trainer_of
from robustnas.training.module import Module
from robustnas.training.processes import average
from robustnas.training.tasks import ClassWeights, Task, loss_of, metrics_of, probabilities_of


class EvaluationModule(Module):
    r"""Train an architecture from scratch, as the DARTS paper evaluates what it finds (arXiv:1806.09055).

    Descends :math:`L + \lambda_\text{aux} L_\text{aux}` with SGD and a cosine schedule. Trains on the roles
    ``weights`` and ``arch``; validates on ``selection``; the role ``test`` is touched by testing only, once, after the
    last epoch. Runs under stock DDP on many processes.

    Args:
        architecture: Which network is trained.
        num_classes: Outputs of the network. The command line takes it from the data.
        image_channels: Channels of the images. The command line takes it from the data.
        task: What is predicted. The command line takes it from the data.
        lr: Step size at the start.
        lr_min: Step size that a cosine schedule over the epochs approaches.
        momentum: Momentum.
        nesterov: Whether it is Nesterov's.
        weight_decay: Weight decay.
        clip: Largest norm of the gradient; 0 for no limit.
        auxiliary_weight: Weight :math:`\lambda_\text{aux}` of the auxiliary head's loss.
        drop_path: Probability that an operation is dropped for a sample, growing linearly from 0 over the epochs.
        label_smoothing: Share of the target that is spread over all classes.
        class_weights: Weights of the classes in the loss that is descended (of positive samples, for labels): a list,
            ``None``, or ``balanced``, which lets rare classes count as much as others.
        train_on_selection: Whether the role ``selection`` is trained on too; then there is nothing to validate on.
        seed: Seed of the initial weights and of everything drawn in training.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        architecture: Architecture,
        num_classes: int = 10,
        image_channels: int = 3,
        task: Task = "classification",
        lr: float = 0.025,
        lr_min: float = 0.0,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 3e-4,
        clip: float = 5.0,
        auxiliary_weight: float = 0.4,
        drop_path: float = 0.2,
        label_smoothing: float = 0.0,
        class_weights: ClassWeights = None,
        train_on_selection: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(locals())
        self.set_task(task, num_classes, class_weights)
        check_positive(lr=lr)
        check_not_negative(lr_min=lr_min, weight_decay=weight_decay, clip=clip, auxiliary_weight=auxiliary_weight)
        check_momentum(momentum, nesterov)
        check_below_one(drop_path=drop_path, label_smoothing=label_smoothing)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, "initial"))
            self.network = architecture.build(num_classes, image_channels)
        roles: tuple[Role, ...] = ("weights", "arch", "selection") if train_on_selection else ("weights", "arch")
        self.training_streams = {"train": roles}
        self.seed, self.clip = seed, clip
        self.lr, self.lr_min, self.momentum, self.nesterov = lr, lr_min, momentum, nesterov
        self.weight_decay, self.auxiliary_weight, self.drop_path = weight_decay, auxiliary_weight, drop_path
        self.train_loss, self.plain_loss = loss_of(task, label_smoothing), loss_of(task)
        self.train_metrics = metrics_of(task, num_classes, "train/", persistent=True)
        self.val_metrics = metrics_of(task, num_classes, "val/")
        self.test_metrics = metrics_of(task, num_classes, "test/")

    def forward(self, images: Tensor) -> Tensor:
        """Outputs of the network, ``[batch, num_classes]``."""
        logits: Tensor = self.network(images)
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        torch.manual_seed(derived_seed(self.seed, "own", self.global_step, self.global_rank))
        drop_path = self.drop_path * self.current_epoch / (self.trainer.max_epochs or 1)
        outputs, auxiliary = self.network.with_auxiliary(batch.images, drop_path)
        loss = self.train_loss(outputs, batch.targets, self.class_weights)
        if auxiliary is not None:
            loss = loss + self.auxiliary_weight * self.train_loss(auxiliary, batch.targets, self.class_weights)
        self.check("training loss", average([loss.detach()])[0])  # processes must stop together
        self.log_trained(loss, outputs, batch.targets)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log_measured("val", self.val_metrics, self.plain_loss, batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.log_measured("test", self.test_metrics, self.plain_loss, batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Probabilities, ``[batch, num_classes]``; the values themselves in regression."""
        return probabilities_of(self.task, self(batch.images))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add how an image becomes an input and what the outputs mean, so that the checkpoint can be used alone."""
        super().on_save_checkpoint(checkpoint)
        trainer = trainer_of(self)
        data = None if trainer is None else getattr(trainer, "datamodule", None)
        if isinstance(data, ImageData):
            checkpoint[KEY]["inputs"] = data.input_spec.plain()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(
            self.network.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov
        )
        trainer = trainer_of(self)
        epochs = (trainer.max_epochs if trainer is not None else None) or 1
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, self.lr_min)]

    def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
        held = {name: w.grad for name, w in self.network.named_parameters() if w.grad is not None}
        norm = norm_of(held.values())
        self.check("gradient of the weights", norm, held.items)
        if self.clip > 0:
            nn.utils.clip_grads_with_norm_(self.network.parameters(), self.clip, norm)

    def check_images(self, images: Tensor) -> None:
        if body := getattr(self.network, "body", None):
            body.check(images)
