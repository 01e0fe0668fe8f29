"""A folder with a network in it, which torch alone loads, and which this library reads back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robustnas.data.input_spec import InputSpec
from robustnas.inference.architecture import build, weights_of
from robustnas.inference.formats import CONFIG
from robustnas.inference.network import TrainedNetwork
from robustnas.inference.safetensors_files import digest_of, read_safetensors, write_safetensors
from robustnas.runs.record import read_json
from robustnas.runtime.safe_files import MAX_CHECKPOINT_BYTES, check_size, parse_json

WEIGHTS, PROGRAM, LOADER, CARD = "model.safetensors", "model.pt2", "load.py", "README.md"
LOADER_TEXT = '''"""Load the network of this folder with torch alone: ``model, config = load()``."""

import json
import pathlib

import torch


def load(folder=pathlib.Path(__file__).parent):
    """The network, which takes uint8 images [batch, *config["shape"]] and gives logits, and config.json."""
    config, held = json.loads((folder / "config.json").read_text(encoding="utf-8")), {"config.json": ""}
    program = torch.export.load(str(folder / "model.pt2"), extra_files=held)
    if json.loads(held["config.json"]) != config:
        raise ValueError("Expected config.json to be as it was exported, but it was changed.")
    return program.module(), config


if __name__ == "__main__":
    model, config = load()
    index = model(torch.zeros(1, *config["shape"], dtype=torch.uint8)).argmax(1).item()
    print(f"a black image is of class {config['classes'][index]}")
'''


def folder_files(trained: TrainedNetwork, config: Mapping[str, Any], program: bytes, card: str) -> dict[str, bytes]:
    """The files of a folder by name; ``program`` is that of ``torch.export``, with the preprocessing."""
    text = json.dumps(config, indent=2)
    weights = write_safetensors(weights_of(trained.network), {"config": json.dumps(config)})
    texts = {CONFIG: text + "\n", LOADER: LOADER_TEXT, CARD: card}
    return {PROGRAM: program, WEIGHTS: weights, **{name: value.encode() for name, value in texts.items()}}


def is_exported(folder: Path) -> bool:
    """Whether a folder is one that :func:`folder_files` describes."""
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file()


def load_folder(folder: Path) -> TrainedNetwork:
    """The network of an exported folder, from its configuration and its weights; nothing in it is executed."""
    path = folder / CONFIG
    config = read_json(path)
    check_size(folder / WEIGHTS, MAX_CHECKPOINT_BYTES)
    weights, held = read_safetensors((folder / WEIGHTS).read_bytes(), str(folder / WEIGHTS))
    if "config" not in held or parse_json(held["config"]) != config:
        raise ValueError(f"Expected {path} to be as it was exported, with {WEIGHTS}, but one of them was changed.")
    if config.get("weights_sha256") != digest_of(weights):
        raise ValueError(f"Expected {folder / WEIGHTS} to hold the weights that were exported, but they were changed.")
    network = build(config["architecture"], str(path))
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"Expected {folder / WEIGHTS} to fit the network of {path}, but: {reason}") from error
    return TrainedNetwork(network, InputSpec.of(config, str(path)))
