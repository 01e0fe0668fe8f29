"""Tensors in the format of safetensors, read and written with torch alone; such a file holds no code.

Eight bytes give the length of a JSON header: name to type, shape and place of each tensor, and texts under
``__metadata__``. The numbers follow.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor

from robustnas.runtime.safe_files import parse_json

METADATA = "__metadata__"
TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
NAMES = {dtype: name for name, dtype in TYPES.items()}


def write_safetensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bytes:
    """The bytes of a file that holds tensors and texts."""
    header: dict[str, Any] = {METADATA: dict(metadata)}
    parts, end = [], 0
    # Large types first, so that each tensor lies where its type wants it.
    for name in sorted(tensors, key=lambda name: (-tensors[name].element_size(), name)):
        tensor = tensors[name].detach().cpu().contiguous()
        data = tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
        place = [end, end + len(data)]
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": place}
        parts.append(data)
        end = place[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of names, types, shapes and numbers of tensors."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(json.dumps([name, NAMES[tensor.dtype], list(tensor.shape)]).encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return found.hexdigest()


def read_safetensors(data: bytes, source: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and texts of a file; a ``ValueError`` names the ``source`` of one that is damaged."""
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = parse_json(data[8 : 8 + length])
        metadata = header.pop(METADATA, {})
        body = memoryview(data)[8 + length :]
        return {name: _tensor(body, **entry) for name, entry in header.items()}, dict(metadata)
    except (struct.error, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"Expected {source} to be a safetensors file, but reading it fails: {reason}") from error


def _tensor(body: memoryview, dtype: str, shape: list[int], data_offsets: tuple[int, int]) -> Tensor:
    start, end = data_offsets
    kind = TYPES[dtype]
    if not all(type(size) is int and size >= 0 for size in (*shape, start, end)):
        raise ValueError(f"sizes that are no counts: {shape}")
    if end > len(body) or end - start != prod(shape) * kind.itemsize:
        raise ValueError(f"{end - start} bytes for the shape {shape}")
    flat = torch.frombuffer(bytearray(body[start:end]), dtype=kind) if end > start else torch.empty(0, dtype=kind)
    return flat.reshape(shape)
