"""Differentiable neural architecture search that does not collapse, and that shows why when it does."""

from pathlib import Path

__version__ = "0.1.0"

# In a checkout, variants/, diagnostics/ and configs/ lie beside this folder.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "variants" / "darts.py").is_file():
    __path__.append(str(_checkout))
