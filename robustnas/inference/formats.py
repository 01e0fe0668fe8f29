"""Formats of exported networks: how each is written, and how it is read again to be compared."""

from __future__ import annotations

import importlib
import io
import json
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from robustnas.inference.architecture import build, weights_of
from robustnas.inference.network import TrainedNetwork

CONFIG = "config.json"  # the name of the metadata inside a file
Call = Callable[[Tensor], Tensor]


class Deployed(nn.Module):
    """What is exported: the network alone, or with its preprocessing, on ``uint8`` images of training's size."""

    def __init__(self, trained: TrainedNetwork, preprocess: bool) -> None:
        super().__init__()
        self.network, self.preprocess = trained.network, trained.preprocess if preprocess else None
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Logits, ``[batch, num_classes]``."""
        logits: Tensor = self.network(images if self.preprocess is None else self.preprocess.normalise(images))
        return logits


class Format(ABC):
    """A format of files."""

    suffix: str
    takes_preprocess = True

    @abstractmethod
    def encode(self, module: Deployed, example: Tensor, config: Mapping[str, Any]) -> bytes:
        """The bytes of a file; its metadata are ``config``."""

    @abstractmethod
    def decode(self, data: bytes) -> Call:
        """What a file computes."""


@dataclass(frozen=True)
class Onnx(Format):
    """ONNX, by ``torch.onnx`` through ``torch.export``, checked by onnxruntime."""

    suffix = ".onnx"

    def encode(self, module: Deployed, example: Tensor, config: Mapping[str, Any]) -> bytes:
        for name in ("onnx", "onnxscript", "onnxruntime"):
            _needed(name)
        with _quiet():
            program: Any = torch.onnx.export(
                module, (example,), dynamo=True, dynamic_shapes=({0: Dim("batch")},), verbose=False,
                input_names=["images"], output_names=["logits"],
            )  # fmt: skip
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in config.items()}
        program.model.metadata_props.update(texts)
        data: bytes = program.model_proto.SerializeToString()
        return data

    def decode(self, data: bytes) -> Call:
        session = _needed("onnxruntime").InferenceSession(data, providers=["CPUExecutionProvider"])
        return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


@dataclass(frozen=True)
class TorchExport(Format):
    """A program of ``torch.export``, which torch reads without this library."""

    suffix = ".pt2"

    def encode(self, module: Deployed, example: Tensor, config: Mapping[str, Any]) -> bytes:
        file = io.BytesIO()
        with _quiet():
            program = torch.export.export(module, (example,), dynamic_shapes=({0: Dim.DYNAMIC},))
            torch.export.save(program, file, extra_files={CONFIG: json.dumps(config)})
        return file.getvalue()

    def decode(self, data: bytes) -> Call:
        with _quiet():
            call: Call = torch.export.load(io.BytesIO(data)).module()
        return call


@dataclass(frozen=True)
class TorchScript(Format):
    """A traced network, for programs that still read TorchScript."""

    suffix = ".ts"

    def encode(self, module: Deployed, example: Tensor, config: Mapping[str, Any]) -> bytes:
        file = io.BytesIO()
        with _quiet():
            traced = torch.jit.trace(module, example, check_trace=False)
            torch.jit.save(traced, file, _extra_files={CONFIG: json.dumps(config)})
        return file.getvalue()

    def decode(self, data: bytes) -> Call:
        with _quiet():
            call: Call = torch.jit.load(io.BytesIO(data), map_location="cpu")
        return call


@dataclass(frozen=True)
class StateDict(Format):
    """Weights alone, as ``torch.load(FILE)["state_dict"]``, with the metadata beside them."""

    suffix = ".pt"
    takes_preprocess = False

    def encode(self, module: Deployed, example: Tensor, config: Mapping[str, Any]) -> bytes:
        file = io.BytesIO()
        torch.save({"state_dict": weights_of(module.network), "config": dict(config)}, file)
        return file.getvalue()

    def decode(self, data: bytes) -> Call:
        held = torch.load(io.BytesIO(data), weights_only=True)
        network = build(held["config"]["architecture"], "the exported file")
        network.load_state_dict(held["state_dict"])
        return network.eval()


FORMATS: dict[str, Format] = {
    "onnx": Onnx(), "torch_export": TorchExport(), "torchscript": TorchScript(), "state_dict": StateDict(),
}  # fmt: skip


def _needed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"Expected `{name}` to be installed for the format onnx, but got {error}. "
            'Run: pip install "robustnas[export]"'
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what exporters say of themselves: deprecations, and operators of libraries that are not installed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
