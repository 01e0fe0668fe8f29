"""Modules as plain data and back, so that a checkpoint says how to build what it holds."""

from __future__ import annotations

import copy
import dataclasses
import errno
from pathlib import Path
from typing import Any, TypeVar

import jsonargparse
from pytorch_lightning import LightningModule

from robustnas.runtime.safe_files import check_numbers, load_checkpoint
from robustnas.runtime.trust import only_trusted, own_message
from robustnas.spaces import SearchSpace
from robustnas.training.lightning.contents import check_finite

Module = TypeVar("Module", bound=LightningModule)

KEY = "robustnas"


def describe(module: LightningModule, arguments: dict[str, Any]) -> dict[str, Any]:
    """A module as ``class_path`` and ``init_args`` of plain values, the form that YAML files have."""
    return {"class_path": _path(type(module)), "init_args": {name: plain(value) for name, value in arguments.items()}}


def build(description: dict[str, Any], base: type[Module]) -> Module:
    """Build the module of a description, with fresh weights; only subclasses of what is asked for are built."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(base, "module")
    try:
        check_numbers(description)
        with only_trusted():
            built: Module = parser.instantiate_classes(parser.parse_object({"module": description})).module
    except (jsonargparse.ArgumentError, ImportError, ValueError, TypeError) as error:
        reason = own_message(str(error)) or " ".join(str(error).split())
        raise ValueError(
            f"Expected the checkpoint to describe a {base.__name__}, but got one that fails: {reason}"
        ) from error
    return built


def load(path: str | Path, base: type[Module]) -> Module:
    """Return the module that a checkpoint holds, with its weights, on the CPU; nothing in the file is executed.

    Raises:
        ValueError: If the file is missing, no checkpoint of this library, of another class than ``base``, or damaged.
    """
    return restore(read(path), path, base)


def read(path: str | Path) -> dict[str, Any]:
    """A checkpoint of this library; a file that is none is refused, and nothing in it is executed."""
    if not Path(path).is_file():
        raise ValueError(f"Expected `path` to be a checkpoint, but there is no file {path}.")
    try:
        checkpoint: dict[str, Any] = load_checkpoint(Path(path))
        self_contained(checkpoint[KEY])
    except Exception as error:  # a damaged file can raise nearly anything
        reason = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
        beyond = isinstance(error, OSError) and error.errno == errno.EINVAL  # torch looks for what was cut off
        if beyond or "PytorchStreamReader" in str(error):
            reason = "it is damaged or cut off"
        elif isinstance(error, KeyError):
            reason = "it names no search or evaluation"
        raise ValueError(f"Expected {path} to be a checkpoint of robustnas, but reading it fails: {reason}") from error
    return checkpoint


def restore(checkpoint: dict[str, Any], path: str | Path, base: type[Module]) -> Module:
    """The module of a checkpoint that was read from ``path``, with its weights."""
    module = build(self_contained(checkpoint[KEY]), base)
    state = checkpoint.get("state_dict")
    if not isinstance(state, dict):
        raise ValueError(
            f"Expected {path} to hold what fits its module, but got {type(state).__name__} for `state_dict`."
        )
    check_finite(state, str(path))
    try:
        module.on_load_checkpoint(checkpoint)
        module.load_state_dict(state)
    except Exception as error:  # as above
        reason = " ".join(str(error).split())
        raise ValueError(f"Expected {path} to hold what fits its module, but got state that fails: {reason}") from error
    return module


def self_contained(held: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a module that reads no other file: with the genotype itself, and inheriting nothing.

    ``held`` is what a checkpoint keeps under ``robustnas``.
    """
    description: dict[str, Any] = copy.deepcopy(held["module"])
    architecture = description["init_args"].get("architecture")
    genotype = held.get("options", {}).get("architecture.genotype")
    if isinstance(architecture, dict) and genotype is not None and "genotype" in architecture.get("init_args", {}):
        given = architecture["init_args"]
        given["genotype"] = genotype
        if "inherit_from" in given:
            given["inherit_from"] = None  # the weights of the checkpoint follow
    return description


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def plain(value: Any) -> Any:
    """An argument as dicts, lists, strings and numbers: parts as ``class_path`` and ``init_args``, spaces by name."""
    if isinstance(value, SearchSpace):
        return value.name  # found again if it is a known one, or names its own import path
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        arguments = {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
        return {"class_path": _path(type(value)), **({"init_args": arguments} if arguments else {})}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, Path) else value
