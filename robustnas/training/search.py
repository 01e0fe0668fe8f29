"""The search: the alternating step of α and the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from robustnas.data.batch import Batch, derived_seed
from robustnas.networks.batchnorm_statistics import evaluating, frozen_batchnorm_statistics
from robustnas.runtime.precision import full_precision
from robustnas.strategies import Bilevel, Step
from robustnas.training.compilation import compile_cells
from robustnas.training.description import KEY
from robustnas.training.finite import norm_of, rows_of
from robustnas.training.hooks.frozen_operations import frozen_operations, not_computed
from robustnas.training.hooks.registry import hook_for
from robustnas.training.lightning.progress import say
from robustnas.training.processes import average, average_buffers
from robustnas.training.replica_check import check_replicas
from robustnas.training.search_hook import SearchHook
from robustnas.training.search_state import Mixtures, SearchState

Batches = Mapping[str, Batch]


def by_step(batch: Batches | Batch) -> Batches:
    """The batches of the steps of α and of the weights by name, which are one where one stream serves both."""
    return {"arch": batch, "weights": batch} if isinstance(batch, Batch) else batch


class SearchModule(SearchState):
    r"""Search for an architecture by gradient descent on α (arXiv:1806.09055).

    Solves :math:`\min_\alpha L_\text{arch}(w^*(\alpha), \alpha)` with
    :math:`w^*(\alpha) = \arg\min_w L_\text{weights}(w, \alpha)` by alternating a step of α on a batch of the role
    ``arch`` and a step of the weights, with SGD, on a batch of the role ``weights``. A method is a choice of parts:
    each argument of :class:`~robustnas.training.search_state.SearchState` that names a class answers one question.

    α has one matrix ``[edges, operations]`` for each kind of cell, shared by all cells of the kind.
    """

    def hooks_of_parts(self) -> list[SearchHook]:
        parts = (
            self.relaxation, self.perturbation, self.gradient, self.penalty, self.arch_optimizer, self.stopping,
            self.pruning, self.selection, self.weight_hook, self.architecture.connection,
        )  # fmt: skip
        return [hook for part in parts if (hook := hook_for(part, self)) is not None]

    def training_step(self, batch: Batches | Batch, batch_idx: int) -> None:
        torch.manual_seed(derived_seed(self.seed, "own", self.global_step, self.global_rank))
        batches = by_step(batch)
        steps: list[Callable[[Batches], None]] = [self.arch_step, self.weight_step]
        waiting = self.current_epoch < self.arch_start or self.pruning.rests(self.current_epoch)
        if waiting or (self.global_step + 1) % self.arch_every:
            steps = [self.weight_step]
        elif self.gradient.single_level:
            steps = [self.joint_step]
        for step in steps if self.step_order == "arch_first" else reversed(steps):
            step(batches)
        if self.trainer.is_last_batch:
            if not any(hook.selecting for hook in self.hooks.values()):
                for sentence in self.unreached.sentences(self.architecture.active_mask):
                    say(self.trainer, sentence)
                for hook in self.hooks.values():
                    hook.last_step(batches["arch"])
                self.lr_schedulers().step()  # type: ignore[union-attr]
            average_buffers(self.supernet)
            for hook in self.hooks.values():
                hook.steps_done()
        check_replicas(self, self.architecture.active_mask)

    def problem(self, batch: Batches) -> Bilevel:
        """The two losses of a search that has begun at its current state, as its gradient sees them."""
        weights = dict(self.supernet.named_parameters())
        return Bilevel(  # a new context draws the same numbers, so that all losses of the step see one sample
            lambda weights: self.arch_loss(batch["arch"], weights),
            lambda weights: self.loss(batch["weights"], self.mixtures(self.context("arch")), weights)[0],
            weights,
            self.arch_parameters,
            Step.of(self.optimizers(use_pl_optimizer=False)[0], weights),  # type: ignore[index]
            average,
        )

    def arch_step(self, batch: Batches) -> None:
        """Move α along the gradient of the loss on the architecture batch."""
        ahead = self.gradient.looks_ahead
        watched = [name for hook in self.hooks.values() for name in hook.watched()]
        problem = replace(self.problem(batch), watched=watched, watch=self.watch)
        precision = full_precision(self.device.type) if ahead else nullcontext()
        with frozen_batchnorm_statistics(self.supernet) if ahead else nullcontext(), precision:
            gradients, loss = self.gradient.of(problem)
        self.move_alpha(gradients, loss, len(batch["arch"].targets))

    def move_alpha(self, gradients: Sequence[Tensor], loss: Tensor, samples: int) -> None:
        """Step α along its gradient, averaged over processes; ``loss`` of so many ``samples`` is what it descends."""
        self.check("architecture loss", loss)
        slopes = dict(zip(self.alphas, gradients, strict=False))
        self.check("gradient of α", norm_of(gradients), lambda: rows_of(self.space, slopes))
        self.unreached.note(slopes)
        self.log_loss("arch", loss, samples)
        optimizer = self.optimizers(use_pl_optimizer=False)[1]  # type: ignore[index]
        for parameter, gradient in zip(self.arch_parameters, gradients, strict=True):
            parameter.grad = gradient
        before = {kind: alpha.detach().clone() for kind, alpha in self.architecture.legal_alphas().items()}
        optimizer.step()
        self.architecture.project(before, self.context("arch"))
        for hook in self.hooks.values():
            hook.alpha_moved()

    def watch(self, slopes: Mapping[str, Tensor]) -> None:
        """Show the hooks the gradient of the architecture loss by the weights that they watch."""
        for hook in self.hooks.values():
            hook.arch_slopes(slopes)

    def weight_step(self, batch: Batches) -> None:
        """Move the weights along the gradient of the loss on the weight batch, at the perturbed mixture."""
        weights = dict(self.supernet.named_parameters())
        context = self.context("weights")
        clean = {name: mixture.detach() for name, mixture in self.mixtures(context).items()}
        fixed = {name: weight.detach() for name, weight in weights.items()}
        with evaluating(self.supernet) if self.perturbation.measures else nullcontext():
            mixtures = self.perturbation.perturb(
                clean, lambda moved: self.loss(batch["weights"], moved, fixed)[0], context, average
            )
        loss, outputs = self.loss(batch["weights"], mixtures, weights)
        slopes = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
        *gradients, shared = average([*slopes, loss.detach()])
        self.log_trained(loss, outputs, batch["weights"].targets)
        self.move_weights(dict(zip(weights, gradients, strict=True)), shared, batch["weights"], mixtures)

    def joint_step(self, batch: Batches) -> None:
        """Move α and the weights along one loss of one batch, at one mixture, from one forward and one backward pass.

        The gradient of α follows from that of the loss by the chain rule: the penalty is a function of it and of α.
        """
        weights, alphas = dict(self.supernet.named_parameters()), self.arch_parameters
        context = self.context("arch")
        mixtures = self.mixtures(context)
        loss, outputs = self.loss(batch["weights"], mixtures, weights)
        slopes = torch.autograd.grad(loss, [*weights.values(), *alphas], materialize_grads=True)
        *gradients, shared = average([*slopes, loss.detach()])
        total = self.penalised(at := shared.clone().requires_grad_(), context)
        factor, *direct = torch.autograd.grad(total, [at, *alphas], materialize_grads=True)
        through = gradients[len(weights) :]
        self.log_trained(loss, outputs, batch["weights"].targets)
        moves = [factor * slope + more for slope, more in zip(through, direct, strict=True)]
        self.move_alpha(moves, total.detach(), len(batch["arch"].targets))
        found = dict(zip(weights, gradients, strict=False))
        self.move_weights(found, shared, batch["weights"], mixtures)

    def move_weights(self, gradients: dict[str, Tensor], loss: Tensor, batch: Batch, mixtures: Mixtures) -> None:
        """Step the weights along their gradient by name, averaged over processes, and what hooks make of it."""
        self.check("training loss", loss)
        for hook in self.hooks.values():
            hook.weight_slopes(gradients, batch, mixtures)
        self.descend(gradients, mixtures)

    def descend(self, gradients: Mapping[str, Tensor], mixtures: Mixtures) -> None:
        """Clip the gradient of the weights, by name, and move those that do not rest."""
        weights = dict(self.supernet.named_parameters())
        for name, weight in weights.items():
            weight.grad = gradients[name]
        norm = norm_of(gradients.values())
        self.check("gradient of the weights", norm, gradients.items)
        if self.clip > 0:
            nn.utils.clip_grads_with_norm_(weights.values(), self.clip, norm)
        for hook in self.hooks.values():
            hook.descended(gradients)  # clipped in place
        resting = [one for hook in self.hooks.values() for one in hook.resting()]
        if self.relaxation.freezes_inactive:
            resting += not_computed(self.supernet, mixtures)
        held = self.optimizers(use_pl_optimizer=False)[0]  # type: ignore[index]
        with frozen_operations(resting, held):
            self.optimizers()[0].step()  # type: ignore[index]

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.log_measured("val", self.val_metrics, self.task_loss, batch)

    def apply_stop(self) -> None:
        """End the training if a stopping rule has decided so, and no selection follows."""
        self.trainer.should_stop = self.trainer.should_stop or (self.over and not self.trains_on)

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if self.compile_cells:
            compile_cells(self.supernet, self.trainer.strategy.root_device)
        for hook in self.hooks.values() if stage == "fit" else ():
            hook.setup()

    def on_train_start(self) -> None:
        """A search that stopped does not go on when it is resumed, except to select."""
        super().on_train_start()
        if not self.resumed.get("validation"):
            self.apply_stop()
        for hook in self.hooks.values():
            hook.begin_training()

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        for hook in self.hooks.values():
            hook.begin_epoch()

    def on_validation_start(self) -> None:
        """Apply a decision to stop that fell at the last step before a checkpoint from which the run was resumed."""
        if not self.trainer.sanity_checking:
            self.apply_stop()

    def on_train_epoch_end(self) -> None:
        """After the record of the epoch, before its checkpoint."""
        for hook in self.hooks.values():
            hook.end_epoch()

    def on_train_end(self) -> None:
        for hook in self.hooks.values():
            hook.end_training()

    def teardown(self, stage: str) -> None:
        for hook in self.hooks.values() if stage == "fit" else ():
            hook.teardown()

    def configure_optimizers(self) -> Any:
        weights = torch.optim.SGD(
            self.supernet.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay, nesterov=self.nesterov
        )
        alphas = self.arch_optimizer.build(self.arch_parameters, self.arch_lr, self.arch_betas, self.arch_weight_decay)
        return [weights, alphas], [torch.optim.lr_scheduler.CosineAnnealingLR(weights, self.search_epochs, self.lr_min)]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        buffers = {f"supernet.{name}": b for name, b in self.supernet.named_buffers() if b.is_floating_point()}
        checkpoint["state_dict"].update(zip(buffers, average(list(buffers.values())), strict=True))
        checkpoint[KEY]["active_mask"] = self.architecture.active_mask
        checkpoint[KEY] |= {name: state for name, hook in self.hooks.items() if (state := hook.state_dict())}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.architecture.active_mask = dict(checkpoint[KEY]["active_mask"])
        for name, hook in self.hooks.items():
            hook.load_state_dict(checkpoint[KEY].get(name))
            if self.changes:
                hook.carry(checkpoint)
