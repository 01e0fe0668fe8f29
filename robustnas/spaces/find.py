"""From a name in a YAML file to a search space."""

from __future__ import annotations

import importlib
import sys

from robustnas.runtime.trust import is_import_path, is_trusted, own_sentence, refusal
from robustnas.spaces.darts import DARTS, S1, S2, S3, S4, DARTSWithoutNone
from robustnas.spaces.mobile import Mobile, MobileSmall
from robustnas.spaces.nasbench201 import NASBench201
from robustnas.spaces.space import SearchSpace

KNOWN = {space.name: space for space in (DARTS, DARTSWithoutNone, S1, S2, S3, S4, NASBench201, Mobile, MobileSmall)}


def find_space(space: str | SearchSpace) -> SearchSpace:
    """The search space that ``space`` names.

    Args:
        space: A space itself, the name of one that comes with robustnas, or the import path of one in a
            module of the user's own, such as ``my_package.my_module.SPACE``. The module must be imported already,
            or one that the user trusts, see :mod:`robustnas.runtime.trust`.

    Returns:
        The space.

    Raises:
        ValueError: If no space of that name can be found, or finding it would run code that is not trusted.
    """
    if isinstance(space, SearchSpace):
        return space
    if not isinstance(space, str):  # of a file in which anything may stand
        raise ValueError(f"Expected `space` to be one of {list(KNOWN)} or an import path, but got {space!r}.")
    if space in KNOWN:
        return KNOWN[space]
    found = _imported(space) if is_import_path(space) else None
    if not isinstance(found, SearchSpace):
        raise ValueError(
            f"Expected `space` to be one of {list(KNOWN)} or the import path of a SearchSpace, but got {space!r}."
        )
    return found


def _imported(path: str) -> object:
    """What an import path names, in a module that is imported already or trusted."""
    module, _, attribute = path.rpartition(".")
    if module not in sys.modules and not is_trusted(path):
        raise ValueError(refusal(path))
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            own_sentence(str(error))
            or f"Expected `space` to be one of {list(KNOWN)} or an import path, but {path!r} fails: {error}."
        ) from error
