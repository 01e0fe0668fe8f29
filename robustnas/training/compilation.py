"""Cells compiled by ``torch.compile``."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from robustnas.networks.cell import Cell
from robustnas.networks.modules import Modules
from robustnas.spaces import SearchSpace
from robustnas.strategies import Relaxation
from robustnas.training.architecture_parameters import first_active

BACKEND = "inductor"
GRAPHS = 64  # kinds of cells, widths and resolutions, each for steps of α, of the weights, and evaluation


def check_compilable(space: SearchSpace, relaxation: Relaxation, drop_path: float) -> None:
    """Refuse to compile cells that would have to be compiled again and again."""
    if first_active(space, relaxation) is not None:
        raise ValueError(
            f"Expected `compile_cells` to be false beside the relaxation `{type(relaxation).__name__}`, which chooses "
            "in every step which operations are computed, so that cells would be compiled anew each time, but got true."
        )
    if drop_path:
        raise ValueError(
            f"Expected `drop_path` to be 0 beside `compile_cells`, since it changes with every epoch and cells would "
            f"be compiled anew each time, but got {drop_path}."
        )


def compile_cells(network: nn.Module, device: torch.device) -> None:
    """Compile every cell when it is first computed in a mode; those with operations of users once these are checked."""
    check_compiler(device)
    import torch._dynamo as dynamo  # takes seconds

    config: Any = dynamo.config
    config.recompile_limit = max(config.recompile_limit, GRAPHS)  # all cells count together
    for module in network.modules():
        if isinstance(module, Cell):
            module.compile(backend=BACKEND, dynamic=False)
            if own := [part for part in module.modules() if isinstance(part, Modules)]:
                _call_when_checked(module, own)


def _call_when_checked(cell: Any, own: Sequence[Modules]) -> None:
    """Call what was compiled of a cell once operations of users are checked: checks would break its graph in pieces."""
    compiled, plain = cell._compiled_call_impl, cell._call_impl

    def call(*given: Any, **named: Any) -> Any:
        return (compiled if all(part.checked for part in own) else plain)(*given, **named)

    cell._compiled_call_impl = call


def check_compiler(device: torch.device) -> None:
    """Refuse to compile where the compiler that torch needs is missing."""
    wanted = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "clang++", "c++"]
    if not any(shutil.which(name) for name in wanted):
        raise ValueError(
            f"Expected a C++ compiler for `compile_cells`, but got none: there is no {' or '.join(wanted)}."
        )
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise ValueError("Expected Triton for `compile_cells` on a GPU, but got none: pip install triton.")
