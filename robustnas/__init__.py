"""Differentiable neural architecture search that does not collapse, and that shows why when it does."""

import os

from robustnas.runtime.module_path import remove_current_folder_from_path, started_as_module

__version__ = "0.1.0"

if started_as_module():  # before anything is imported that Python has not loaded itself
    remove_current_folder_from_path()

# In a checkout, variants/, diagnostics/ and configs/ lie beside this folder.
_checkout = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
if os.path.isfile(os.path.join(_checkout, "variants", "darts.py")):
    __path__.append(_checkout)
