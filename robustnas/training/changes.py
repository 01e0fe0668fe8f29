"""What becomes of options that differ from the checkpoint that a run goes on from: each follows a rule of ``RULES``."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

from pytorch_lightning import LightningModule, Trainer
from torch.optim.lr_scheduler import CosineAnnealingLR

from robustnas.data import ImageData
from robustnas.data.roles import check_roles
from robustnas.runtime.precision import settings
from robustnas.training.description import KEY, plain
from robustnas.training.lightning.loops import Place

Options = dict[str, Any]


class Change(NamedTuple):
    """An option that differs from the checkpoint: what it was there, and what it is now."""

    was: Any
    now: Any


class Rule(NamedTuple):
    """What becomes of a change: why it is refused, or what it does from where the run goes on."""

    refused: bool
    says: str


TRAINED = Rule(True, "it says which network is trained")
BEGUN = Rule(True, "it shaped the start of the run, which is over")
PART = Rule(True, "the steps already taken are those of the other one")
NOTED = Rule(True, "what the rule has noted so far depends on it")
DATA = Rule(True, "the weights are trained on data that were prepared with it")
APPLIED = Rule(False, "the new value holds from {place} on")
RATE = Rule(False, "the learning rate follows the schedule of the new value from {place} on")
EPOCHS = Rule(
    False,
    "the learning rate follows a cosine over {now} epochs from {place} on, and all other schedules run over {now} too",
)
SELECTS = Rule(False, "the result is selected by the new value")
UNKNOWN = Rule(False, "the new value is taken; what it means for the steps already taken is not known")

TRAINER = (
    "max_epochs", "max_steps", "limit_train_batches", "limit_val_batches", "overfit_batches",
    "accumulate_grad_batches", "check_val_every_n_epoch", "val_check_interval", "gradient_clip_val",
    "gradient_clip_algorithm", "reload_dataloaders_every_n_epochs",
)  # fmt: skip
RULES: dict[str, Rule] = {
    **dict.fromkeys(("model", "space", "channels", "layers", "cells", "num_classes", "image_channels"), TRAINED),
    **dict.fromkeys(("task", "connection", "edge_weights", "stem", "architecture"), TRAINED),
    **dict.fromkeys(("alpha_init", "seed", "data.seed", "architecture.inherit_from"), BEGUN),
    **dict.fromkeys(("relaxation", "perturbation", "gradient", "penalty", "pruning", "arch_optimizer"), PART),
    **dict.fromkeys(("weight_hook", "class_weights"), PART),
    **dict.fromkeys(("relaxation.", "perturbation.", "gradient.", "penalty.", "pruning.", "arch_optimizer."), APPLIED),
    "weight_hook.": APPLIED,
    "weight_hook.rule": PART,
    "stopping": NOTED,
    "selection": SELECTS,
    **dict.fromkeys(("lr", "lr_min"), RATE),
    **dict.fromkeys(("momentum", "nesterov", "weight_decay", "clip", "drop_path"), APPLIED),
    **dict.fromkeys(("arch_lr", "arch_betas", "arch_weight_decay", "arch_start", "arch_every"), APPLIED),
    **dict.fromkeys(("step_order", "batch_statistics", "convolution", "channels_last", "checkpointing"), APPLIED),
    **dict.fromkeys(("compile_cells", "auxiliary_weight", "label_smoothing"), APPLIED),
    "train_on_selection": Rule(True, "the role selection must be trained on from the start or not at all"),
    **dict.fromkeys(("data.classes", "data.image_shape", "data.train", "data.test", "data.mean", "data.std"), DATA),
    **dict.fromkeys(("data.batch_size", "data.eval_batch_size", "data.augmentation", "data.augment_arch"), APPLIED),
    **dict.fromkeys((*TRAINER, "precision", "processes", "float32"), APPLIED),
    "max_epochs": EPOCHS,
}
LIMITS = ("limit_train_batches", "limit_val_batches", "overfit_batches", "val_check_interval")  # 1 batch, but 1.0 all
LENGTH = ("data.batch_size", "processes", "limit_train_batches", "overfit_batches")  # what an epoch's steps depend on
COSINE = ("lr", "lr_min", "max_epochs")  # what the schedule of the learning rate follows
MACHINE = ("processes", "float32")  # a finished run is found finished on another machine too


def options_of(module: LightningModule, trainer: Trainer, data: Any) -> Options:
    """All options on which the steps of a run depend, flat and as plain values."""
    described: Any = module.description
    options = {"model": described["class_path"], **_flat(described["init_args"])}
    if (genotype := getattr(getattr(module, "network", None), "genotype", None)) is not None:
        options["architecture.genotype"] = str(genotype)  # what it says counts, not where the file lies
    options |= {name: _plain(getattr(trainer, name)) for name in TRAINER}
    options |= {name: str(options[name]) for name in LIMITS}
    options |= {"precision": str(trainer.precision), "processes": trainer.world_size}
    options |= {f"float32.{name}": value for name, value in settings().items()}
    return options | (_of_data(data) if isinstance(data, ImageData) else {})


def _of_data(data: ImageData) -> Options:
    told = data.describe()
    found: Options = {"roles": data.split.hashes()}
    found |= {name: getattr(data, name) for name in ("batch_size", "eval_batch_size", "augment_arch", "seed")}
    found |= _flat({"augmentation": plain(data.augmentation)})
    found |= {"classes": told["classes"], "image_shape": told["image_shape"]}
    found |= {"train": told["train_sha256"], "test": told["test_sha256"]}
    found |= {name: getattr(data, name) for name in ("mean", "std")}  # by default they follow from the roles
    return {f"data.{name}": _plain(value) for name, value in found.items()}


def _flat(arguments: Mapping[str, Any], prefix: str = "") -> Options:
    found: Options = {}
    for name, value in arguments.items():
        if isinstance(value, Mapping) and "class_path" in value:
            found[prefix + name] = value["class_path"]
            found |= _flat(value.get("init_args", {}), f"{prefix}{name}.")
        else:
            found[prefix + name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    value = plain(value)
    return value if value is None or isinstance(value, (bool, int, float, str, list, dict)) else str(value)


def changes_of(checkpoint: Mapping[str, Any], given: Options, trains_on: bool) -> dict[str, Change]:
    """What differs from a checkpoint, all of it allowed."""
    place, held = Place.of(checkpoint), _held(checkpoint)
    if "data.roles" in held and "data.roles" in given:
        check_roles(held["data.roles"], given["data.roles"])
    changes = _differing(held, given)
    for name, change in changes.items():
        if reason := _refusal(name, change, checkpoint, changes, place):
            raise ValueError(
                f"Expected `{name}` to be {_shown(change.was)}, as in the checkpoint, since {reason}, "
                f"but got {_shown(change.now)}."
            )
    _check_left(given, changes, place, checkpoint, trains_on)
    return changes


def sentences(changes: Mapping[str, Change], checkpoint: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """What the changes do, a sentence each."""
    place = Place.of(checkpoint)
    for name, (was, now) in changes.items():
        what = _rule(name).says.format(place=place, now=now)
        if name == "max_epochs" and now <= place.epochs:
            what = f"the search ends with {place.epochs} epochs, and its selection follows"
        yield f"`{name}` was {_shown(was)} in the checkpoint and is {_shown(now)} now: {what}."
    if "options" not in checkpoint[KEY]:
        yield "The checkpoint does not record options of its trainer and its data: whether they differ is not known."
    elif unknown := [name for name in given if name not in _held(checkpoint) and not _inner(name, changes)]:
        yield f"The checkpoint does not record {', '.join(unknown)}: whether that differs is not known."


def _held(checkpoint: Mapping[str, Any]) -> Options:
    """Options that a checkpoint records; one of an earlier version has those of its module, and its schedule's."""
    if (options := checkpoint[KEY].get("options")) is not None:
        return dict(options)
    module = checkpoint[KEY]["module"]
    found = {"model": module["class_path"], **_flat(module["init_args"])}
    found.pop("architecture.genotype", None)  # a path
    if _begun(checkpoint):
        return found
    epochs = next((one["T_max"] for one in checkpoint["lr_schedulers"] if "T_max" in one), None)
    return found if epochs is None else {**found, "max_epochs": epochs}


def _differing(held: Options, given: Mapping[str, Any]) -> dict[str, Change]:
    """Changes, without the arguments of a part whose class has changed, or of data of another kind."""
    found = {name: Change(held[name], now) for name, now in given.items() if name in held and held[name] != now}
    data = any(name.startswith("data.") for name in given)
    gone = [name for name in held if name not in given and (data or not name.startswith("data."))]
    found |= {name: Change(held[name], None) for name in gone}
    return {name: change for name, change in found.items() if not _inner(name, found)}


def _inner(name: str, changes: Mapping[str, Change]) -> bool:
    """Whether an option is an argument of a part whose class has changed."""
    return any(name.startswith(f"{part}.") for part in changes)


def _rule(name: str) -> Rule:
    """The rule of an option: its own, or that of the part it is an argument of."""
    keys = [name, f"{name}."]
    while name := name.rpartition(".")[0]:
        keys += [f"{name}.", name]
    return next((RULES[key] for key in keys if key in RULES), UNKNOWN)


def _refusal(
    name: str, change: Change, checkpoint: Mapping[str, Any], changes: Mapping[str, Change], place: Place
) -> str | None:
    """Why a change is refused, or ``None``."""
    rule = _rule(name)
    if rule.refused:
        return rule.says
    if _begun(checkpoint) and name.split(".")[0] in ("max_epochs", "selection", "lr_min"):
        return "the selection has begun to decide"
    if name == "weight_decay" and "raised" in checkpoint[KEY].get("early_stopping", {}):
        return "its stopping rule raises it step by step"
    if name == "max_epochs" and place.epochs > change.now:
        return f"{place.epochs} epochs have already been trained"
    size, count = changes.get("data.batch_size"), changes.get("processes")
    same = size is not None and count is not None and size.was * count.was == size.now * count.now
    if place.inside and name in LENGTH and not same:  # a batch of all processes together may be as large as before
        return "the checkpoint was saved inside an epoch, whose batches depend on it"
    return None


def _begun(checkpoint: Mapping[str, Any]) -> bool:  # a selection to decide
    return (checkpoint[KEY].get("perturbation_selection") or {}).get("began") is not None


def _check_left(
    given: Options, changes: Mapping[str, Change], place: Place, checkpoint: Mapping[str, Any], trains_on: bool
) -> None:
    if not (named := [name for name in changes if name.split(".")[0] not in MACHINE]):
        return
    stopping = checkpoint[KEY].get("early_stopping") or {}
    if stopping.get("stop") is not None and "raised" not in stopping and not trains_on:
        got = "its stopping rule has ended the search"
    elif not trains_on and place.epochs >= given["max_epochs"]:
        got = f"it has trained all {place.epochs} epochs"
    elif -1 < given["max_steps"] <= place.steps:
        got = f"it has taken all {place.steps} steps"
    else:
        return
    raise ValueError(
        f"Expected the options of the checkpoint, since nothing is left to train: {got}, but got another `{named[0]}`: "
        f"{_shown(changes[named[0]].now)}, not {_shown(changes[named[0]].was)}."
    )


def _shown(value: Any) -> str:
    text = str(value)
    return text.rpartition(".")[2] if isinstance(value, str) and text.startswith("robustnas.") else text


def carry(
    module: LightningModule,
    checkpoint: dict[str, Any],
    changed: Collection[str],
    optimizer_options: Mapping[str, tuple[int, str]],
) -> None:
    """Give the optimisers and the schedule of a checkpoint the options of the module that have changed."""
    named = {name: place for name, place in optimizer_options.items() if name in changed}
    cosine = [name for name in COSINE if name in changed]
    if not (named or cosine):
        return
    made: Any = module.configure_optimizers()
    optimizers, schedules = made
    if cosine and [type(schedule) for schedule in schedules] != [CosineAnnealingLR]:
        raise ValueError(
            f"Expected `{cosine[0]}` to be that of the checkpoint, since the schedule of {type(module).__name__} is "
            f"its own, but got another one."
        )
    for states, held in _states(checkpoint):
        for optimizer, key in named.values():
            fresh = optimizers[optimizer].state_dict()["param_groups"]
            for group, new in zip(states[optimizer]["param_groups"], fresh, strict=True):
                if key in new:  # other optimisers of α have no such option
                    group[key] = new[key]
        if cosine:
            _set_rate(states[0]["param_groups"], held[0], schedules[0])


def _states(checkpoint: dict[str, Any]) -> Iterator[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """States of the optimisers and of the schedule: the present ones, and those that a search may be sent back to."""
    yield checkpoint["optimizer_states"], checkpoint["lr_schedulers"]
    for state in (checkpoint[KEY].get("early_stopping") or {}).get("states", {}).values():
        yield state["optimizers"], state["schedulers"]


def _set_rate(groups: list[dict[str, Any]], held: dict[str, Any], schedule: CosineAnnealingLR) -> None:
    start, end = schedule.base_lrs[0], schedule.eta_min
    rate = end + (start - end) * (1 + math.cos(math.pi * held["last_epoch"] / schedule.T_max)) / 2
    held.update(T_max=schedule.T_max, eta_min=end, base_lrs=[start], _last_lr=[rate])
    for group in groups:
        group.update(lr=rate, initial_lr=start)
