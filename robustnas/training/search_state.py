"""What a search consists of: its parts, the supernet, α, and the losses as functions of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import functional_call

from robustnas.data.batch import Batch, derived_seed
from robustnas.networks import Connection, Full, Mixture, Supernet, SupernetConfig
from robustnas.networks.blocks import Stem
from robustnas.networks.bundle import Convolution
from robustnas.spaces import Genotype, find_space
from robustnas.strategies import StepContext
from robustnas.strategies.arch_optimizer import Adam, ArchOptimizer
from robustnas.strategies.gradient import FirstOrder, Gradient
from robustnas.strategies.penalty import NoPenalty, Penalty
from robustnas.strategies.perturbation import Perturbation, Unperturbed
from robustnas.strategies.pruning import NoPruning, Pruning
from robustnas.strategies.relaxation import Relaxation, Softmax
from robustnas.strategies.selection import Selection, Strongest
from robustnas.strategies.step_context import Phase
from robustnas.strategies.stopping import Never, Stopping
from robustnas.strategies.weight_hook import NoWeightHook, WeightHook
from robustnas.training.architecture_parameters import ArchitectureParameters
from robustnas.training.checks import (
    check_arch_optimizer,
    check_below_one,
    check_momentum,
    check_not_negative,
    check_parts,
    check_positive,
    check_shares,
    check_single_level,
)
from robustnas.training.compilation import check_compilable
from robustnas.training.finite import Unreached
from robustnas.training.lightning.loops import trainer_of
from robustnas.training.module import Module
from robustnas.training.search_hook import SearchHook
from robustnas.training.tasks import ClassWeights, Task, loss_of, metrics_of

Mixtures = Mapping[str, Mixture]


class SearchState(Module):
    r"""The arguments and the state of a search, without its steps, which :class:`SearchModule` adds.

    Hooks, curvature and diagnostics read a search through this class.

    Args:
        space: Search space: its name, an import path, or the space itself.
        channels: Channels of the supernet's first cells.
        layers: Cells of the supernet, in spaces with the DARTS skeleton (default 8).
        cells: Cells of each of the three stages, in NAS-Bench-201 (default 5).
        num_classes: Outputs of the network. The command line takes it from the data.
        image_channels: Channels of the images. The command line takes it from the data.
        task: What is predicted. The command line takes it from the data.
        relaxation: How α becomes weights of operations.
        perturbation: At which mixture the weights are trained.
        gradient: How the validation loss reaches α, and which data the two steps draw from.
        selection: How the search is discretised to a genotype. Some take epochs of their own, after the search.
        penalty: What is added to the loss of α.
        stopping: When the search stops, and to which epoch it returns.
        pruning: Which operations leave during the search.
        connection: What an edge carries besides its operations.
        arch_optimizer: How α steps along its gradient.
        weight_hook: What else shapes the step of the weights.
        edge_weights: Whether every edge has a learned weight too, from β: by default a softmax over the edges that
            enter a node.
        lr: Step size of the weights at the start.
        lr_min: Step size that a cosine schedule over the epochs approaches.
        momentum: Momentum of the weights.
        nesterov: Whether it is Nesterov's.
        weight_decay: Weight decay of the weights.
        clip: Largest norm of the weights' gradient, all taken together; 0 for no limit. α is not clipped.
        arch_lr: Step size of α.
        arch_betas: Decay rates of Adam's moments for α.
        arch_weight_decay: Weight decay of α, added to its gradient.
        arch_start: First epoch in which α moves.
        arch_every: Steps of the weights for each step of α.
        alpha_init: Standard deviation of the initial α and β, drawn from a normal distribution.
        drop_path: Probability at the last epoch that an edge is dropped for a sample, growing linearly from 0.
        step_order: Whether α or the weights step first; a single-level gradient steps both at once.
        stem: ``cifar``, or ``imagenet`` to divide the resolution first, by 8 in the spaces of DARTS.
        class_weights: Weights of the classes in the losses that are descended (of positive samples, for labels): a
            list, ``None``, or ``balanced``, which lets rare classes count as much as others.
        batch_statistics: Whether evaluation normalises by the batch, not by running statistics.
        convolution: How the supernet computes separable convolutions: ``separable``, ``dense``, or ``auto``.
        channels_last: Memory format of the images; ``None`` chooses what is fast on the device.
        checkpointing: Whether activations of cells are computed again in the backward pass, to save memory.
        compile_cells: Whether cells are compiled by ``torch.compile``, which takes minutes at the start.
        seed: Seed of the initial weights, of α, and of everything drawn during the search.

    Raises:
        ValueError: If an argument is out of its range or does not fit the space.
    """

    losses = ("arch", "train")
    optimizer_options = {  # noqa: RUF012
        **Module.optimizer_options, "arch_lr": (1, "lr"), "arch_betas": (1, "betas"),
        "arch_weight_decay": (1, "weight_decay"),
    }  # fmt: skip

    def __init__(
        self,
        space: Any = "DARTS",
        channels: int = 16,
        layers: int | None = None,
        cells: int | None = None,
        num_classes: int = 10,
        image_channels: int = 3,
        task: Task = "classification",
        relaxation: Relaxation = Softmax(),
        perturbation: Perturbation = Unperturbed(),
        gradient: Gradient = FirstOrder(),
        selection: Selection = Strongest(),
        penalty: Penalty = NoPenalty(),
        stopping: Stopping = Never(),
        pruning: Pruning = NoPruning(),
        connection: Connection = Full(),
        arch_optimizer: ArchOptimizer = Adam(),
        weight_hook: WeightHook = NoWeightHook(),
        edge_weights: bool = False,
        lr: float = 0.025,
        lr_min: float = 0.001,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 3e-4,
        clip: float = 5.0,
        arch_lr: float = 3e-4,
        arch_betas: tuple[float, float] = (0.5, 0.999),
        arch_weight_decay: float = 1e-3,
        arch_start: int = 0,
        arch_every: int = 1,
        alpha_init: float = 1e-3,
        drop_path: float = 0.0,
        step_order: Literal["arch_first", "weights_first"] = "arch_first",
        stem: Stem = "cifar",
        class_weights: ClassWeights = None,
        batch_statistics: bool = False,
        convolution: Convolution = "auto",
        channels_last: bool | None = None,
        checkpointing: bool = False,
        compile_cells: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(locals())
        self.set_task(task, num_classes, class_weights)
        check_positive(lr=lr, arch_lr=arch_lr, arch_every=arch_every)
        check_not_negative(lr_min=lr_min, weight_decay=weight_decay, clip=clip, arch_weight_decay=arch_weight_decay)
        check_not_negative(alpha_init=alpha_init, arch_start=arch_start)
        check_momentum(momentum, nesterov)
        check_below_one(drop_path=drop_path, arch_beta1=arch_betas[0], arch_beta2=arch_betas[1])
        self.space = find_space(space)
        check_parts(self.space, relaxation, perturbation, stopping, connection)
        pruning.check(self.space, arch_start)
        check_single_level(gradient, perturbation)
        check_arch_optimizer(relaxation, arch_optimizer, arch_weight_decay)
        check_shares(relaxation, perturbation, penalty, selection, edge_weights)
        selection.check(self.space)
        if compile_cells:
            check_compilable(self.space, relaxation, drop_path)
        self.relaxation, self.perturbation = relaxation, perturbation
        self.gradient, self.selection = gradient, selection
        self.penalty, self.stopping, self.pruning = penalty, stopping, pruning
        self.arch_optimizer, self.weight_hook = arch_optimizer, weight_hook
        self.lr, self.lr_min, self.momentum, self.nesterov = lr, lr_min, momentum, nesterov
        self.weight_decay, self.clip, self.drop_path, self.step_order = weight_decay, clip, drop_path, step_order
        self.arch_lr, self.arch_betas, self.arch_weight_decay = arch_lr, arch_betas, arch_weight_decay
        self.arch_start, self.arch_every, self.compile_cells = arch_start, arch_every, compile_cells
        self.seed, self.automatic_optimization = seed, False
        self.training_streams, self.unreached = gradient.streams, Unreached(self.space)
        config = SupernetConfig(
            channels, layers, cells, num_classes, image_channels, stem, batch_statistics=batch_statistics,
            convolution=convolution, channels_last=channels_last, checkpointing=checkpointing, connection=connection,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, "initial"))
            self.supernet = Supernet(self.space, config=config)
            kinds = self.supernet.body.kinds
            weight_hook.check(self.space, kinds, relaxation, gradient)
            self.architecture = ArchitectureParameters(
                self.space, relaxation, alpha_init, edge_weights, kinds, connection
            )
        self.alphas, self.betas = self.architecture.alphas, self.architecture.betas
        self.task_loss = loss_of(task)
        self.train_metrics = metrics_of(task, num_classes, "train/", persistent=True)
        self.val_metrics = metrics_of(task, num_classes, "val/")
        self.hooks: dict[str, SearchHook] = {hook.name: hook for hook in self.hooks_of_parts()}

    @abstractmethod
    def hooks_of_parts(self) -> list[SearchHook]:
        """What the parts do at the events of training, in the order in which they are called."""

    @property
    def over(self) -> bool:
        """Whether a stopping rule has ended the search."""
        return any(hook.over for hook in self.hooks.values())

    @property
    def trains_on(self) -> bool:
        return any(hook.trains_on for hook in self.hooks.values())

    @property
    def search_epochs(self) -> int:
        """Epochs of the search, those of its selection not counted; schedules stay at their end after them."""
        trainer = trainer_of(self)
        known = [hook.search_epochs for hook in self.hooks.values() if hook.search_epochs]
        return (known[0] if known else None) or (trainer.max_epochs if trainer is not None else None) or 1

    def context(self, phase: Phase) -> StepContext:
        """The present step, with random numbers that all processes share; each call gives the same numbers."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "shared", self.global_step, phase))
        return StepContext(phase, min(self.current_epoch, self.search_epochs), self.search_epochs, generator)

    @property
    def arch_parameters(self) -> list[Tensor]:
        """α, and β where there is one."""
        return self.architecture.parameters

    def mixtures(self, context: StepContext) -> dict[str, Mixture]:
        """The mixture of each kind of cell, differentiable in α."""
        return self.architecture.mixtures(context)

    def shares(self) -> dict[str, Tensor]:
        """Share of each operation in its edge, by kind of cell, ``[edges, operations]``; zero for those that left."""
        return self.architecture.shares()

    def architecture_weights(self) -> dict[str, Tensor]:
        """Shares times the weights of their edges, by kind of cell, ``[edges, operations]``."""
        return self.architecture.architecture_weights()

    def genotype(self) -> Genotype:
        """The architecture that selection finds at the present α, or at that of the epoch a stop returned to."""
        found = [genotype for hook in self.hooks.values() if (genotype := hook.genotype()) is not None]
        return found[-1] if found else self.selection.genotype(self.space, self.final_architecture_weights())

    @torch.no_grad()
    def final_architecture_weights(self) -> dict[str, Tensor]:
        """Architecture weights with which the search ended, or stands, before its selection decides."""
        found = [weights for hook in self.hooks.values() if (weights := hook.architecture_weights()) is not None]
        return found[-1] if found else self.architecture_weights()

    def forward(self, images: Tensor) -> Tensor:
        """Outputs of the supernet at the mixture of evaluation, ``[batch, num_classes]``."""
        logits: Tensor = self.supernet(images, self.mixtures(self.context("evaluation")))
        return logits

    def loss(self, batch: Batch, mixtures: Mixtures, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Loss on a batch, a scalar, and outputs of the supernet, as functions of mixtures and weights."""
        drop_path = self.drop_path * min(self.current_epoch / max(self.search_epochs - 1, 1), 1.0)
        outputs = functional_call(self.supernet, dict(weights), (batch.images, mixtures, drop_path))
        return self.loss_of(outputs, batch.targets), outputs.detach()

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss that is descended, with weights of classes where there are some, a scalar."""
        return self.task_loss(outputs, targets, self.class_weights)

    def arch_loss(self, batch: Batch, weights: Mapping[str, Tensor]) -> Tensor:
        """The loss of α: that of the supernet on the batch, and the penalty."""
        context = self.context("arch")
        return self.penalised(self.loss(batch, self.mixtures(context), weights)[0], context)

    def penalised(self, loss: Tensor, context: StepContext) -> Tensor:
        """A loss of the supernet with the penalty of α."""
        multiplier = sum(hook.multiplier for hook in self.hooks.values())
        context = replace(context, space=self.space, betas=dict(self.betas.items()), multiplier=multiplier)
        return self.penalty.total(loss, self.architecture.legal_alphas(), self.shares(), context)

    def check_images(self, images: Tensor) -> None:
        self.supernet.body.check(images)
