"""The search: α, the parts, and the alternating step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from robustnas.analysis.metrics import ARCH, OPERATIONS, VAL_LOSS
from robustnas.curvature import Hessian
from robustnas.curvature.eigenvalue import bounded_ends
from robustnas.data.batch import Batch, derived_seed
from robustnas.networks import Connection, Full, Mixture, Supernet
from robustnas.networks.batchnorm_statistics import evaluating, frozen_batchnorm_statistics
from robustnas.networks.blocks import Stem
from robustnas.networks.bundle import Form
from robustnas.runtime.precision import full_precision
from robustnas.spaces import Genotype, find_space
from robustnas.strategies import (
    Bilevel,
    FirstOrder,
    Gradient,
    LargestDrop,
    Never,
    NoPenalty,
    NoPruning,
    Penalty,
    Perturbation,
    Pruning,
    Relaxation,
    Selection,
    Softmax,
    Step,
    StepContext,
    Stop,
    Stopping,
    Strongest,
    Unperturbed,
)
from robustnas.strategies.step_context import Phase
from robustnas.training import alpha
from robustnas.training.checks import check_below_one, check_momentum, check_not_negative, check_positive
from robustnas.training.class_weights import ClassWeights
from robustnas.training.combinations import check_parts
from robustnas.training.compilation import check_compilable, compile_cells
from robustnas.training.curvature import Measured, measure
from robustnas.training.description import KEY
from robustnas.training.finite import Unreached, norm_of, rows_of
from robustnas.training.hooks.frozen_operations import frozen_operations
from robustnas.training.hooks.perturbation_selection import PerturbationSelection
from robustnas.training.hooks.rollback import early_stopping_for
from robustnas.training.hooks.sampled_selection import SampledSelection
from robustnas.training.module import Module
from robustnas.training.processes import Averaged, average, average_buffers
from robustnas.training.progress import say
from robustnas.training.replica_check import check_replicas
from robustnas.training.tasks import Task, check_task, loss_of, metrics_of, update

Mixtures = Mapping[str, Mixture]


class SearchModule(Module):
    r"""Search for an architecture by gradient descent on α (arXiv:1806.09055).

    Solves :math:`\min_\alpha L_\text{arch}(w^*(\alpha), \alpha)` with
    :math:`w^*(\alpha) = \arg\min_w L_\text{weights}(w, \alpha)` by alternating a step of α, with Adam, on a batch of
    the role ``arch`` and a step of the weights, with SGD, on a batch of the role ``weights``. A method is a choice
    of parts: each argument below that names a class answers one question.

    α has one matrix ``[edges, operations]`` for each kind of cell, shared by all cells of the kind.

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
        gradient: How the validation loss reaches α.
        selection: How the search is rounded to a genotype. Some take epochs of their own, after those of the search.
        penalty: What is added to the loss of α.
        stopping: When the search stops, and to which epoch it returns.
        pruning: Which operations leave during the search.
        connection: Which channels take part.
        edge_weights: Whether every edge has a learned weight too: β, a softmax over the edges that enter a node.
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
        alpha_init: Standard deviation of the initial α, drawn from a normal distribution.
        drop_path: Probability at the last epoch that an edge is dropped for a sample, growing linearly from 0.
        step_order: Whether α or the weights step first.
        stem: ``cifar``, or ``imagenet`` to divide the resolution first, by 8 in the spaces of DARTS.
        class_weights: Weights of the classes in the losses that are descended: ``None`` for none, ``balanced`` for
            weights that let rare classes count as much as others, see
            :func:`~robustnas.training.class_weights.balanced`, or a list. For labels they weigh the positive samples.
        batch_statistics: Whether evaluation normalises by the batch, not by running statistics.
        form: How the supernet computes separable convolutions.
        channels_last: Memory format of the images; ``None`` chooses what is fast on the device.
        checkpointing: Whether activations of cells are computed again in the backward pass, to save memory.
        compile_cells: Whether cells are compiled by ``torch.compile``, which takes minutes at the start.
        seed: Seed of the initial weights, of α, and of everything drawn during the search.

    Raises:
        ValueError: If an argument is out of its range or does not fit the space.
    """

    training_streams = {"weights": ("weights",), "arch": ("arch",)}  # noqa: RUF012
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
        form: Form = "auto",
        channels_last: bool | None = None,
        checkpointing: bool = False,
        compile_cells: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(locals())
        check_task(task, num_classes)
        self.set_class_weights(class_weights, task, num_classes)
        check_positive(lr=lr, arch_lr=arch_lr, arch_every=arch_every)
        check_not_negative(lr_min=lr_min, weight_decay=weight_decay, clip=clip, arch_weight_decay=arch_weight_decay)
        check_not_negative(alpha_init=alpha_init, arch_start=arch_start)
        check_momentum(momentum, nesterov)
        check_below_one(drop_path=drop_path, arch_beta1=arch_betas[0], arch_beta2=arch_betas[1])
        self.space = find_space(space)
        check_parts(self.space, relaxation, perturbation, stopping)
        if compile_cells:
            check_compilable(self.space, relaxation, drop_path)
        self.compile_cells = compile_cells
        self.relaxation, self.perturbation = relaxation, perturbation
        self.gradient, self.selection, self.penalty = gradient, selection, penalty
        self.early_stopping, self.pruning = early_stopping_for(stopping, weight_decay), pruning
        self.candidate_mask, self.active_mask = alpha.candidate_mask(self.space), alpha.candidate_mask(self.space)
        self.perturbation_selection = (
            PerturbationSelection(selection, self.space) if isinstance(selection, LargestDrop) else None
        )
        self.sampled_selection = SampledSelection(selection, self.space)
        self.arch_start, self.arch_every, self.unreached = arch_start, arch_every, Unreached(self.space)
        self.lr, self.lr_min, self.momentum, self.nesterov = lr, lr_min, momentum, nesterov
        self.weight_decay, self.clip, self.drop_path, self.step_order = weight_decay, clip, drop_path, step_order
        self.arch_lr, self.arch_betas, self.arch_weight_decay = arch_lr, arch_betas, arch_weight_decay
        self.task, self.seed, self.automatic_optimization = task, seed, False
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(seed, "initial"))
            self.supernet = Supernet(
                self.space, channels, layers, cells, num_classes, image_channels, stem, False, batch_statistics, form,
                channels_last, checkpointing, connection,
            )  # fmt: skip
            self.alphas, self.betas = alpha.initial(self.space, alpha_init, edge_weights)
        self.task_loss = loss_of(task)
        self.train_metrics = metrics_of(task, num_classes, "train/", persistent=True)
        self.val_metrics = metrics_of(task, num_classes, "val/")

    def context(self, phase: Phase) -> StepContext:
        """The present moment, with random numbers that all processes share."""
        generator = torch.Generator().manual_seed(derived_seed(self.seed, "shared", self.global_step, phase))
        return StepContext(phase, min(self.current_epoch, self.search_epochs), self.search_epochs, generator)

    @property
    def search_epochs(self) -> int:
        """Epochs of the search, those of its selection not counted; schedules stay at their end after them."""
        epochs = self._trainer.max_epochs if self._trainer is not None else None
        return (
            (self.perturbation_selection.searched if self.perturbation_selection is not None else None) or epochs or 1
        )

    def mixtures(self, context: StepContext) -> dict[str, Mixture]:
        """The mixture of each kind of cell, differentiable in α."""
        zero_mask = alpha.zero_mask(self.space)
        mixtures = {
            kind: self.relaxation.mixture(a, replace(context, zero_mask=zero_mask[kind], cell=self.space.cells[kind]))
            for kind, a in self.legal_alphas().items()
        }
        if self.pruned:
            mixtures = {kind: mixture.restricted(self.active_mask[kind]) for kind, mixture in mixtures.items()}
        return {kind: replace(mixture, edges=self.edge_weights(kind)) for kind, mixture in mixtures.items()}

    @property
    def pruned(self) -> bool:
        """Whether any candidate has left."""
        return any(
            not torch.equal(self.active_mask[kind], candidates) for kind, candidates in self.candidate_mask.items()
        )

    def edge_weights(self, kind: str) -> Tensor | None:
        """Weights of the edges of a kind of cell, ``[edges]``, which sum to one at each node; ``None`` without β."""
        if kind not in self.betas:
            return None
        return alpha.edge_weights(self.space.cells[kind], self.betas[kind])

    def strengths(self) -> dict[str, Tensor]:
        """How strongly each operation is held, by kind of cell, ``[edges, operations]``."""
        weights = {kind: self.edge_weights(kind) for kind in self.space.cells}
        return {k: s if (w := weights[k]) is None else s * w[:, None] for k, s in self.shares().items()}

    def shares(self) -> dict[str, Tensor]:
        """Share of each operation in its edge, by kind of cell, ``[edges, operations]``; zero for those that left."""
        shares = {kind: self.relaxation.strength(a) for kind, a in self.legal_alphas().items()}
        return {kind: share.where(self.active_mask[kind].to(share.device), 0.0) for kind, share in shares.items()}

    @property
    def arch_parameters(self) -> list[Tensor]:
        """α, and β where there is one."""
        return [*self.alphas.values(), *self.betas.values()]

    def legal_alphas(self) -> dict[str, Tensor]:
        """α by kind of cell, minus infinity where there is no such candidate, or it has left."""
        return {kind: alpha.masked(a, self.active_mask[kind]) for kind, a in self.alphas.items()}

    def genotype(self) -> Genotype:
        """The architecture that selection finds at the present α, or at that of the epoch a stop returned to."""
        if self.perturbation_selection is not None and self.perturbation_selection.began is not None:
            return self.perturbation_selection.genotype()
        return self.sampled_selection.best or self.selection.genotype(self.space, self.final_strengths())

    @torch.no_grad()
    def final_strengths(self) -> dict[str, Tensor]:
        """Strengths with which the search ended, or stands: before decisions, and at the epoch a stop returned to."""
        if self.perturbation_selection is not None and self.perturbation_selection.began is not None:
            return self.perturbation_selection.strengths
        return self.early_stopping.returned or self.strengths()

    def forward(self, images: Tensor) -> Tensor:
        """Outputs of the supernet at the mixture of evaluation, ``[batch, num_classes]``."""
        logits: Tensor = self.supernet(images, self.mixtures(self.context("evaluation")))
        return logits

    def loss(self, batch: Batch, mixtures: Mixtures, weights: Mapping[str, Tensor]) -> Tensor:
        """Loss on a batch, a scalar, as a function of mixtures and weights."""
        drop_path = self.drop_path * min(self.current_epoch / max(self.search_epochs - 1, 1), 1.0)
        outputs = functional_call(self.supernet, dict(weights), (batch.images, mixtures, drop_path))
        self._outputs = outputs.detach()
        return self.loss_of(outputs, batch.targets)

    def loss_of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss that is descended, with weights of classes where there are some, a scalar."""
        return self.task_loss(outputs, targets, self.class_weights)

    def training_step(self, batch: Mapping[str, Batch], batch_idx: int) -> None:
        """One alternating step."""
        torch.manual_seed(derived_seed(self.seed, "own", self.global_step, self.global_rank))
        steps: list[Callable[[Mapping[str, Batch]], None]] = [self.arch_step, self.weight_step]
        if self.current_epoch < self.arch_start or (self.global_step + 1) % self.arch_every:
            steps = [self.weight_step]
        for step in steps if self.step_order == "arch_first" else reversed(steps):
            step(batch)
        if self.trainer.is_last_batch:
            if self.perturbation_selection is None or self.perturbation_selection.began is None:
                self.check_stopping(batch["arch"])
                for sentence in self.unreached.sentences(self.active_mask):
                    say(self.trainer, sentence)
                self.prune()
                self.lr_schedulers().step()  # type: ignore[union-attr]
            average_buffers(self.supernet)
            self.early_stopping.keep(self)
        check_replicas(self)

    def on_train_start(self) -> None:
        """A search that stopped does not go on when it is resumed, except to select."""
        super().on_train_start()
        if not self.resumed.get("validation"):
            self.apply_stop()
        self.early_stopping.go_back(self)

    def apply_stop(self) -> None:
        """End the training if the stopping rule has decided so, and no selection follows."""
        self.trainer.should_stop = self.trainer.should_stop or (
            self.early_stopping.over and self.perturbation_selection is None
        )

    def on_validation_start(self) -> None:
        """Heed a decision at the last step of an epoch that is gone on from."""
        if not self.trainer.sanity_checking:
            self.apply_stop()

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        if self.perturbation_selection is not None:
            self.perturbation_selection.step(self)

    def on_train_epoch_end(self) -> None:
        """Go back where the stopping rule says so: after the record of the epoch, before its checkpoint."""
        self.early_stopping.go_back(self)
        self.sampled_selection.end(self)

    def problem(self, batch: Mapping[str, Batch]) -> Bilevel:
        """The two losses of the search at its current state, as its gradient sees them.

        Args:
            batch: A batch for each of the roles ``arch`` and ``weights``.

        Returns:
            The problem, for a search that has begun: its optimisers are in use.
        """
        weights = dict(self.supernet.named_parameters())
        return Bilevel(  # a new moment draws the same numbers, so that all losses of the step see one sample
            lambda weights: self.arch_loss(batch["arch"], weights),
            lambda weights: self.loss(batch["weights"], self.mixtures(self.context("arch")), weights),
            weights,
            self.arch_parameters,
            Step.of(self.optimizers(use_pl_optimizer=False)[0], weights),  # type: ignore[index]
            average,
        )

    def arch_step(self, batch: Mapping[str, Batch]) -> None:
        """Move α along the gradient of the loss on the architecture batch."""
        problem = self.problem(batch)
        ahead = self.gradient.looks_ahead
        with frozen_batchnorm_statistics(self.supernet) if ahead else nullcontext(), self._precision(full=ahead):
            gradients, loss = self.gradient.of(problem)
        self.check("architecture loss", loss)
        slopes = dict(zip(self.alphas, gradients, strict=False))
        self.check("gradient of α", norm_of(gradients), lambda: rows_of(self.space, slopes))
        self.unreached.note(slopes)
        self.log_loss("arch", loss, len(batch["arch"].targets))
        optimizer = self.optimizers(use_pl_optimizer=False)[1]  # type: ignore[index]
        for parameter, gradient in zip(self.arch_parameters, gradients, strict=True):
            parameter.grad = gradient
        before = {kind: a.detach().clone() for kind, a in self.legal_alphas().items()}
        optimizer.step()
        self.project_alpha(before)

    @torch.no_grad()
    def project_alpha(self, before: Mapping[str, Tensor]) -> None:
        """Let the relaxation put α right after a step."""
        context, after, zero_mask = self.context("arch"), self.legal_alphas(), alpha.zero_mask(self.space)
        for kind, a in self.alphas.items():
            settled = self.relaxation.project_alpha(
                before[kind], after[kind], replace(context, zero_mask=zero_mask[kind])
            )
            a.copy_(settled.where(settled.isfinite(), a))

    def arch_loss(self, batch: Batch, weights: Mapping[str, Tensor]) -> Tensor:
        """The loss of α: that of the supernet on the batch, and the penalty."""
        context = self.context("arch")
        return self.penalty.total(self.loss(batch, self.mixtures(context), weights), self.shares(), context)

    def prune(self) -> None:
        """Let operations leave, as soon as α moves."""
        if self.pruning == NoPruning():
            return
        shares = {kind: share.detach().cpu() for kind, share in self.shares().items()}
        if self.current_epoch >= self.arch_start:
            self.active_mask = self.pruning.prune(self.space, shares, self.active_mask, self.context("arch"))
        left = float(sum(int(active_mask.sum()) for active_mask in self.active_mask.values()))
        self.log_numbers({OPERATIONS.name: left})

    def check_stopping(self, batch: Batch) -> None:
        """Measure what the stopping rule watches, and stop if it says so."""
        if not self.early_stopping.due(self.current_epoch, self.search_epochs):
            return
        if self.early_stopping.stopping.monitor == "curvature":
            found = self.measure_curvature(batch)
            value = found.value
            if not math.isfinite(value):
                say(self.trainer, f"The curvature after epoch {self.current_epoch} is {value}, and does not count.")
                return
            self.early_stopping.note(self.global_step, found)
        else:
            value = float(next(iter(self.genotype().count("skip_connect").values())))
        stop = self.early_stopping.add(self.current_epoch, value, self.strengths(), self.search_epochs)
        if stop is not None and stop.detected == self.current_epoch:
            self.explain(stop)
        if stop is not None and self.early_stopping.over:
            self.trainer.should_stop = self.perturbation_selection is None
            follows = (
                f"the result is that of epoch {stop.returned}"
                if self.perturbation_selection is None
                else "selection begins"
            )
            say(self.trainer, f"Stopped after epoch {stop.detected}; {follows}.")
        self.log_numbers({ARCH.of(self.early_stopping.stopping.monitor): value, **self.early_stopping.logged})

    def explain(self, stop: Stop) -> None:
        """Say what a decision rests on, where the rule has something to say."""
        if reason := self.early_stopping.stopping.reason(self.early_stopping.epochs, self.early_stopping.values):
            say(self.trainer, f"Decision after epoch {stop.detected}: {reason}")

    def measure_curvature(self, batch: Batch) -> Measured:
        """The curvature that the stopping rule watches, on the probe or on the last batch, as the rule asks for."""
        rule = self.early_stopping.stopping
        if rule.measured_on == "probe":
            return measure(self, rule.samples)
        return Measured(*self.last_batch_eigenvalue(batch))

    def last_batch_eigenvalue(self, batch: Batch) -> tuple[float, float]:
        """Largest eigenvalue of the Hessian of α's loss as RobustDARTS has it, and what it is at most.

        Args:
            batch: The last batch of α's steps on this process. The Hessian is the mean over processes.

        Returns:
            Both, in α alone, as α's step saw the batch, with drop path and with α's weight decay.
        """
        weights = {name: weight.detach() for name, weight in self.supernet.named_parameters()}
        with frozen_batchnorm_statistics(self.supernet), torch.random.fork_rng(), self._precision(full=True):
            hessian = Hessian(self.arch_loss(batch, weights), list(self.alphas.values()))
            found, _ = bounded_ends(Averaged(hessian), 0.01)
        value = found.value + self.arch_weight_decay
        return value, value + found.bound

    def weight_step(self, batch: Mapping[str, Batch]) -> None:
        """Move the weights along the gradient of the loss on the weight batch, at the perturbed mixture."""
        weights = dict(self.supernet.named_parameters())
        context = self.context("weights")
        clean = {kind: mixture.detach() for kind, mixture in self.mixtures(context).items()}
        fixed = {name: weight.detach() for name, weight in weights.items()}
        with evaluating(self.supernet) if self.perturbation.measures else nullcontext():
            loss_at = partial(self.loss, batch["weights"], weights=fixed)
            mixtures = self.perturbation.perturb(clean, loss_at, context, average)
        loss = self.loss(batch["weights"], mixtures, weights)
        slopes = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        *gradients, shared = average([*slopes, loss.detach()])
        self.check("training loss", shared)
        size = len(batch["weights"].targets)
        update(self.train_metrics, self.task, self._outputs, batch["weights"].targets)
        self.log_loss("train", loss, size)
        self.log("loss", loss.detach(), prog_bar=True, logger=False, on_epoch=False, batch_size=size)
        self.log_dict(self.train_metrics, on_step=False, on_epoch=True, batch_size=size)
        for weight, gradient in zip(weights.values(), gradients, strict=True):
            weight.grad = gradient
        norm = norm_of(gradients)
        self.check("gradient of the weights", norm, lambda: zip(weights, gradients, strict=True))
        if self.clip > 0:
            nn.utils.clip_grads_with_norm_(weights.values(), self.clip, norm)
        held = self.optimizers(use_pl_optimizer=False)[0]  # type: ignore[index]
        with frozen_operations(self.supernet, mixtures, held) if self.relaxation.rests else nullcontext():
            self.optimizers()[0].step()  # type: ignore[index]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measure the supernet on samples that neither step uses."""
        outputs = self(batch.images)
        update(self.val_metrics, self.task, outputs, batch.targets)
        loss = self.task_loss(outputs, batch.targets)
        self.log(VAL_LOSS.name, loss, batch_size=len(batch.targets), sync_dist=True)
        self.log_dict(self.val_metrics, prog_bar=True, batch_size=len(batch.targets))

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.compile_cells:
            compile_cells(self.supernet, self.trainer.strategy.root_device)
        if stage == "fit":
            self.sampled_selection.check(self.trainer)
        if self.perturbation_selection is not None and stage == "fit":
            self.perturbation_selection.extend(self.trainer)

    def teardown(self, stage: str) -> None:
        if self.perturbation_selection is not None and stage == "fit":
            self.perturbation_selection.release(self.trainer)

    def check_images(self, images: Tensor) -> None:
        self.supernet.body.check(images)

    def configure_optimizers(self) -> Any:
        weights = torch.optim.SGD(
            self.supernet.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov
        )
        alphas = torch.optim.Adam(
            self.arch_parameters, self.arch_lr, self.arch_betas, weight_decay=self.arch_weight_decay
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(weights, self.search_epochs, self.lr_min)
        return [weights, alphas], [schedule]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        buffers = {f"supernet.{name}": b for name, b in self.supernet.named_buffers() if b.is_floating_point()}
        checkpoint["state_dict"].update(zip(buffers, average(list(buffers.values())), strict=True))
        checkpoint[KEY]["watch"], checkpoint[KEY]["kept"] = self.early_stopping.state_dict(), self.active_mask
        checkpoint[KEY]["lots"] = self.sampled_selection.state_dict()
        if self.perturbation_selection is not None:
            checkpoint[KEY]["phase"] = self.perturbation_selection.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.early_stopping.load_state_dict(checkpoint[KEY]["watch"])
        self.active_mask = dict(checkpoint[KEY]["kept"])
        self.sampled_selection.load_state_dict(checkpoint[KEY])
        if self.perturbation_selection is not None:
            self.perturbation_selection.load_state_dict(checkpoint[KEY].get("phase"), self._trainer)

    def _precision(self, full: bool) -> Any:
        return full_precision(self.device.type) if full else nullcontext()
