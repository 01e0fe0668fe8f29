"""What is refused before training starts."""

from __future__ import annotations

import math
from typing import Any

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.model_helpers import is_overridden

from robustnas.data import ImageData
from robustnas.networks import Connection, Mixture
from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.runtime.precision import full_precision
from robustnas.spaces import SearchSpace
from robustnas.strategies import ArchOptimizer, Gradient, Penalty, Perturbation, Relaxation, Selection, Stopping
from robustnas.training.architecture_parameters import first_active


def check_positive(**values: float) -> None:
    """Refuse numbers that are not positive."""
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"Expected `{name}` to be positive, but got {value}.")


def check_not_negative(**values: float) -> None:
    """Refuse numbers below zero."""
    for name, value in values.items():
        if not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"Expected `{name}` to be zero or more, but got {value}.")


def check_below_one(**values: float) -> None:
    """Refuse numbers that are not in [0, 1)."""
    for name, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"Expected `{name}` to be zero or more and below one, but got {value}.")


def check_precision(precision: str | int | None) -> None:
    """Refuse precisions in which α would be stepped in 16 bits, or its gradient pass through float16."""
    if str(precision) not in ("None", "32", "32-true", "64", "64-true", "bf16", "bf16-mixed"):
        raise ValueError(
            f"Expected `precision` to be 32-true, 64-true or bf16-mixed, but got {precision}: gradients of α "
            "underflow in float16, where loss scaling does not reach them, and its steps vanish in bfloat16."
        )


def check_momentum(momentum: float, nesterov: bool) -> None:
    """Refuse momenta that stochastic gradient descent cannot have."""
    check_below_one(momentum=momentum)
    if nesterov and momentum == 0:
        raise ValueError("Expected `momentum` to be positive with `nesterov`, but got 0.")


def check_trainer(trainer: Trainer) -> None:
    """Refuse options of the trainer with which nothing would be trained."""
    if trainer.limit_train_batches == 0:
        raise ValueError("Expected `limit_train_batches` to leave at least one batch, but got 0.")
    for name in ("check_val_every_n_epoch", "val_check_interval"):
        every = getattr(trainer, name)
        if isinstance(every, int | float) and every <= 0:
            raise ValueError(f"Expected `{name}` to be positive, but got {every}.")


def check_fit(module: Any, trainer: Trainer, stage: str) -> None:
    """Refuse a run that cannot work, before it starts."""
    if stage == "fit" and (trainer.max_epochs is None or trainer.max_epochs < 1):
        raise ValueError(f"Expected `max_epochs` to be at least 1, but got {trainer.max_epochs}.")
    if stage == "predict" and not is_overridden("predict_step", module):
        raise ValueError(
            f"Expected `model` to be an evaluation, whose network predicts, but got {type(module).__name__}; "
            "`robustnas evaluate` trains what a search found."
        )
    check_precision(trainer.precision)
    if stage == "fit" and (penalty := getattr(module, "penalty", None)) is not None:
        penalty.check(module.space)
        module.selection.check_files(module.space)
    data: Any = getattr(trainer, "datamodule", None)
    if not isinstance(data, ImageData):
        return
    arguments = module.description["init_args"]
    found = {"num_classes": data.num_classes, "image_channels": data.image_shape[0], "task": data.task}
    for argument, value in found.items():
        if arguments[argument] != value:
            raise ValueError(f"Expected `{argument}` to be {value!r}, as in the data, but got {arguments[argument]!r}.")
    module.check_images(torch.empty(1, *data.image_shape, device="meta"))
    if stage == "fit":
        for stream, roles in module.training_streams.items():
            data.loader(*roles, training=True, stream=stream)
        check_single_samples(module, data)


def check_single_samples(module: Any, data: ImageData) -> None:
    """Refuse batches of one sample where BatchNorm would have a single value for each channel."""
    if data.batch_size == 1 and _fails_alone(module, data):
        raise ValueError(
            f"Expected `batch_size` to be at least 2, since images of {data.image_shape[1]} x {data.image_shape[2]} "
            "shrink to one pixel, where BatchNorm has nothing to normalise one sample by, but got 1."
        )
    samples, size = len(data.split.indices["selection"]), data.eval_batch_size
    processes = data.trainer.world_size if data.trainer else 1
    own = {len(range(rank, samples, processes)) for rank in range(processes)}
    by_batch = module.description["init_args"].get("batch_statistics", False)
    if by_batch and any(count and (count - 1) % size == 0 for count in own) and _fails_alone(module, data):
        raise ValueError(
            f"Expected `eval_batch_size` to leave no batch of one sample beside `batch_statistics`, since images "
            f"shrink to one pixel, but got {size} for {samples} samples of selection."
        )


@torch.no_grad()
def _fails_alone(module: Any, data: ImageData) -> bool:
    """Whether a network in training cannot take a single sample."""
    images = torch.zeros(1, *data.image_shape, device=module.device, dtype=module.dtype)
    try:
        with torch.random.fork_rng(devices=[]), frozen_batchnorm_statistics(module), full_precision(module.device.type):
            if hasattr(module, "supernet"):
                mixtures = {kind: Mixture(torch.ones_like(alpha)) for kind, alpha in module.alphas.items()}
                module.supernet(images, mixtures)
            else:
                module.network.with_auxiliary(images, 0.0)
    except ValueError as error:
        if "more than 1 value per channel" in str(error):
            return True
        raise
    return False


def check_parts(
    space: SearchSpace, relaxation: Relaxation, perturbation: Perturbation, stopping: Stopping, connection: Connection
) -> None:
    """Refuse parts that make no sense together: only what would train for hours to no effect."""
    active = first_active(space, relaxation) if perturbation.perturbs else None
    if active is not None and active.shape[-1] > 1 and (active.sum(dim=-1) <= 1).all():
        raise ValueError(
            f"Expected `perturbation` to be `Unperturbed` beside the relaxation `{type(relaxation).__name__}`, whose "
            "weight step computes one operation of each edge with weight one, so that there is nothing to perturb, "
            f"but got `{type(perturbation).__name__}`."
        )
    stopping.check(space)
    if stopping.rewinds and connection.stages:
        raise ValueError(
            "Expected `stopping` not to return the search to an earlier epoch beside the connection "
            f"`{type(connection).__name__}`, whose supernet may have had fewer channels then, but got "
            f"`{type(stopping).__name__}`."
        )


def check_shares(
    relaxation: Relaxation, perturbation: Perturbation, penalty: Penalty, selection: Selection, edge_weights: bool
) -> None:
    """Refuse parts that mean nothing for the shares that the relaxation gives."""
    name, independent = type(relaxation).__name__, relaxation.independent
    if penalty.wants != "any" and (penalty.wants == "independent") != independent:
        sums = "do not sum to one" if independent else "sum to one"
        raise ValueError(
            f"Expected a `penalty` that means something for shares whose rows {sums}, as those of the relaxation "
            f"`{name}`, but got `{type(penalty).__name__}`, which is made for the others."
        )
    if perturbation.perturbs and independent:
        raise ValueError(
            f"Expected `perturbation` to be `Unperturbed` beside the relaxation `{name}`, whose weights do not sum to "
            f"one on an edge, where perturbed ones are made to, but got `{type(perturbation).__name__}`."
        )
    if selection.absolute and edge_weights:
        raise ValueError(
            f"Expected no `edge_weights` with the selection `{type(selection).__name__}`, whose threshold is one for "
            "shares alone: times weights of edges, which sum to one at a node, hardly any share reaches it."
        )


def check_single_level(gradient: Gradient, perturbation: Perturbation) -> None:
    """Refuse a gradient of one level that has two streams or looks ahead, and a mixture for the weights alone."""
    name = type(gradient).__name__
    if gradient.single_level and (gradient.looks_ahead or len(gradient.streams) != 1):
        got = "one that looks ahead" if gradient.looks_ahead else f"the streams {', '.join(gradient.streams)}"
        raise ValueError(
            f"Expected the single-level `gradient` {name} to have one stream and to be taken at the current weights, "
            f"since α and the weights step together on one batch, but got {got}."
        )
    if gradient.single_level and perturbation.perturbs:
        raise ValueError(
            f"Expected `perturbation` to be `Unperturbed` beside the single-level gradient `{name}`, where α and the "
            f"weights step at one mixture, but got `{type(perturbation).__name__}`."
        )


def check_arch_optimizer(relaxation: Relaxation, arch_optimizer: ArchOptimizer, weight_decay: float) -> None:
    """Refuse steps that leave the simplex where α lies on it, or that are made for the simplex where it does not."""
    name, got = type(relaxation).__name__, type(arch_optimizer).__name__
    if relaxation.on_simplex and not arch_optimizer.on_simplex:
        raise ValueError(
            f"Expected `arch_optimizer` to be `ExponentiatedGradient` beside the relaxation `{name}`, whose α are "
            f"weights that sum to one, which other steps do not keep, but got `{got}`."
        )
    if arch_optimizer.on_simplex and not relaxation.on_simplex:
        raise ValueError(
            f"Expected `relaxation` to be `Direct` beside the optimiser `{got}`, whose steps multiply positive "
            f"weights, but got `{name}`, whose α are any numbers."
        )
    if relaxation.on_simplex and weight_decay:
        raise ValueError(
            f"Expected `arch_weight_decay` to be 0 beside the relaxation `{name}`, where α are weights that sum to "
            f"one, so that decay would only be undone, but got {weight_decay}."
        )


def without_effect(module: Any, epochs: int) -> list[str]:
    """What never happens in a search of so few epochs, a sentence each: no error, since such runs may be trials."""
    said = []
    start, pruning = getattr(module, "arch_start", 0), getattr(module, "pruning", None)
    if start >= epochs and module.selection.reads_alpha:
        said.append(f"α does not move before epoch {start} of {epochs}: the genotype is that of the random initial α.")
    if pruning is not None and pruning.start >= epochs:
        said.append(f"Pruning starts at epoch {pruning.start} of {epochs}: no operation leaves.")
    architecture = getattr(module, "architecture", None)
    stages = getattr(getattr(architecture, "connection", None), "stages", ())
    said += [f"Channels widen at epoch {first} of {epochs}: they never do." for first, _ in stages if first >= epochs]
    return said
