"""Differentiable neural architecture search that does not collapse, and that shows why when it does."""

import os

from robustnas.runtime.module_path import remove_current_folder_from_path, started_as_module

TYPE_CHECKING = False  # that of `typing`, which the current folder might hold until its path is removed
if TYPE_CHECKING:
    from robustnas.inference import load_genotype, load_network, load_search, predict

__all__ = ["__version__", "load_genotype", "load_network", "load_search", "predict"]

__version__ = "0.1.0"

if started_as_module():  # before anything is imported that Python has not loaded itself
    remove_current_folder_from_path()

# In a checkout, variants/, diagnostics/ and configs/ lie beside this folder.
_checkout = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
if os.path.isfile(os.path.join(_checkout, "variants", "darts.py")):
    __path__.append(_checkout)


def __getattr__(name: str) -> object:
    """Import what uses torch when it is first asked for, so that the package itself stays light."""
    if name not in __all__:
        raise AttributeError(f"module 'robustnas' has no attribute {name!r}")
    from robustnas import inference

    return getattr(inference, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
