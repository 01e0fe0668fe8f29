"""Export of a trained network to files that need this library no more; each is compared before it is kept."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import robustnas
from robustnas.inference.architecture import architecture_of, weights_of
from robustnas.inference.folder import folder_files
from robustnas.inference.formats import FORMATS, Call, Deployed
from robustnas.inference.network import TrainedNetwork
from robustnas.inference.safetensors_files import digest_of
from robustnas.runtime.atomic_files import write_bytes

BATCHES = (1, 2, 7)  # sizes that are compared
TOLERANCE = 1e-4  # largest difference of logits, as a share of the largest logit where that is above one
FOLDER = "folder"


@dataclass(frozen=True)
class Exported:
    """A file or folder that was written.

    Attributes:
        path: Where it lies.
        difference: The largest difference of its logits from those of the network, over batches of 1, 2 and 7.
    """

    path: Path
    difference: float


def export_network(
    trained: TrainedNetwork, path: Path, format_name: str, preprocess: bool, samples: Tensor, card: str = ""
) -> Exported:
    """Write a network in a format, once it is shown to compute the same.

    Args:
        trained: The network, on the CPU.
        path: The file; for ``folder`` a new folder.
        format_name: ``onnx``, ``torch_export``, ``torchscript``, ``state_dict`` or ``folder``.
        preprocess: Whether the file takes ``uint8`` images and normalises them; a folder always does.
        samples: Images to compare on, ``uint8``, ``[samples, channels, height, width]``.
        card: The model card of a folder, in Markdown.

    Returns:
        The path and the largest difference.

    Raises:
        ValueError: If the format cannot be written, or what was written computes something else; then it is not kept.
    """
    (_check_new if format_name == FOLDER else _check_file)(path)
    config = config_of(trained)
    if format_name == FOLDER:
        data = _encoded(trained, "torch_export", True, samples, config)
        difference = compare(trained, "torch_export", data, True, samples)
        _write_folder(path, folder_files(trained, config, data, card))
        return Exported(path, difference)
    if preprocess and not FORMATS[format_name].takes_preprocess:
        raise ValueError(f"Expected no `--preprocess` with the format {format_name}, which holds weights only.")
    data = _encoded(trained, format_name, preprocess, samples, config)
    difference = compare(trained, format_name, data, preprocess, samples)
    write_bytes(path, data)
    return Exported(path, difference)


def config_of(trained: TrainedNetwork) -> dict[str, Any]:
    """The metadata of an exported network, as JSON values."""
    versions = {
        "robustnas": robustnas.__version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }
    return {
        "schema": 1,
        **trained.preprocess.spec.plain(),
        "architecture": architecture_of(trained.network),
        "weights_sha256": digest_of(weights_of(trained.network)),
        **versions,
    }


def compare(trained: TrainedNetwork, format_name: str, data: bytes, preprocess: bool, samples: Tensor) -> float:
    """The largest difference between a network and what was written of it; one that is too large is refused."""
    call: Call = FORMATS[format_name].decode(data)
    module, inputs = Deployed(trained, preprocess), _inputs(trained, preprocess, samples)
    largest = 0.0
    with torch.no_grad():
        for size in BATCHES:
            batch = inputs[torch.arange(size) % len(inputs)]
            wanted, found = module(batch), call(batch)
            scale = max(1.0, wanted.abs().max().item())
            difference = (wanted - found).abs().max().item() if wanted.shape == found.shape else float("inf")
            if not difference <= TOLERANCE * scale:
                raise ValueError(
                    f"Expected the {format_name} file to compute what the network computes, but for a batch of {size} "
                    f"the logits differ by {difference:.3g}; nothing was written."
                )
            largest = max(largest, difference)
    return largest


def _encoded(
    trained: TrainedNetwork, format_name: str, preprocess: bool, samples: Tensor, config: Mapping[str, Any]
) -> bytes:
    module = Deployed(trained, preprocess)
    inputs = _inputs(trained, preprocess, samples)
    example = inputs[torch.arange(2) % len(inputs)]  # a batch of one would be taken for a constant
    with torch.no_grad():
        module(example)  # operations of users check what they do in their first call
        return FORMATS[format_name].encode(module, example, config)


def _inputs(trained: TrainedNetwork, preprocess: bool, samples: Tensor) -> Tensor:
    return samples if preprocess else trained.preprocess.normalise(samples)


def _check_new(path: Path) -> None:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        found = "holds something" if path.is_dir() else "is a file"
        raise ValueError(f"Expected `--out` to be a new or empty folder, but {path} {found}.")


def _check_file(path: Path) -> None:
    """Refuse a path that no file can be written to, before what takes long; a file there is replaced."""
    above = next(one for one in path.absolute().parents if one.exists())
    if path.is_dir():
        raise ValueError(f"Expected `--out` to be a file, but {path} is a folder.")
    if not above.is_dir():
        raise ValueError(f"Expected `--out` to be a file in a folder, but {above} is no folder.")
    if not os.access(above, os.W_OK):
        raise ValueError(f"Expected `--out` to be in a folder that can be written to, but {above} cannot.")


def _write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder that appears when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        hidden.chmod(0o755)
        for name, data in files.items():
            write_bytes(hidden / name, data)
        if path.is_dir():
            path.rmdir()
        os.replace(hidden, path)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
