"""Finding a search space by its name or import path."""

from __future__ import annotations

import importlib
import sys

from robustnas.runtime.trust import is_import_path, is_trusted, own_message, refusal
from robustnas.spaces.darts import (
    DARTS,
    S1,
    S2,
    S3,
    S4,
    DARTSAllEdges,
    DARTSAnyEdges,
    DARTSFewerEdges,
    DARTSSingleCell,
    DARTSSingleCellWithoutSkip,
    DARTSWithoutNone,
    DARTSWithoutSkip,
)
from robustnas.spaces.mobile import Mobile, MobileSmall
from robustnas.spaces.nasbench201 import NASBench201, NASBench201SkipConv
from robustnas.spaces.space import SearchSpace

BUILT_IN = (
    DARTS, DARTSWithoutNone, DARTSAllEdges, DARTSFewerEdges, DARTSAnyEdges, DARTSWithoutSkip, DARTSSingleCell,
    DARTSSingleCellWithoutSkip, S1, S2, S3, S4, NASBench201, NASBench201SkipConv, Mobile, MobileSmall,
)  # fmt: skip
KNOWN = {space.name: space for space in BUILT_IN}


def find_space(space: str | SearchSpace) -> SearchSpace:
    """Return the search space with a name or import path such as ``my_module.SPACE``, or the space itself.

    Raises:
        ValueError: If there is none, or its module is neither imported nor trusted, see :mod:`robustnas.runtime.trust`.
    """
    if isinstance(space, SearchSpace):
        return space
    if not isinstance(space, str):  # files may hold any value
        raise ValueError(f"Expected `space` to be one of {list(KNOWN)} or an import path, but got {space!r}.")
    found = KNOWN.get(space) or (_imported(space) if is_import_path(space) else None)
    if not isinstance(found, SearchSpace):
        raise ValueError(
            f"Expected `space` to be one of {list(KNOWN)} or the import path of a SearchSpace, but got {space!r}."
        )
    return found


def _imported(path: str) -> object:
    module, _, attribute = path.rpartition(".")
    if module not in sys.modules and not is_trusted(path):
        raise ValueError(refusal(path))
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            own_message(str(error))
            or f"Expected `space` to be one of {list(KNOWN)} or an import path, but {path!r} fails: {error}."
        ) from error
