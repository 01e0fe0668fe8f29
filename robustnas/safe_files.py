"""Reading files from elsewhere: plain data only, and no absurd sizes.

Checkpoints hold tensors and plain data only, JSON is JSON, arrays hold no pickles, YAML is read by its safe loader.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

LARGEST = 2**28  # bytes of a record that is read whole; those of long searches have a hundredth
NODES = 100_000  # values in a YAML file, aliases counted as often as they stand for something


def check_size(path: Path) -> None:
    """Refuse a file that no record of a search is as large as.

    Args:
        path: The file.

    Raises:
        ValueError: If it is too large.
    """
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(f"Expected {path} to have at most {LARGEST:,} bytes, but got {size:,}.")


def read_arrays(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an npz file, without pickles.

    Args:
        data: Content of the file.

    Returns:
        Arrays by name.

    Raises:
        ValueError: If they are too large together once unpacked. A damaged archive raises nearly anything.
    """
    import numpy as np

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if (size := sum(member.file_size for member in archive.infolist())) > LARGEST:
            raise ValueError(f"an archive of {size:,} bytes once unpacked, more than {LARGEST:,}")
        return {
            name.removesuffix(".npy"): np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
            for name in archive.namelist()
        }


def read_yaml(path: Path) -> Any:
    """Read a YAML file with the safe loader.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        ValueError: If it cannot be read, is no YAML, or its aliases stand for more than a configuration could hold.
    """
    import yaml

    try:
        check_size(path)
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if _nodes(content, {}) > NODES:
            raise ValueError(f"aliases that stand for more than {NODES:,} values")
    except OSError as error:
        reason = error.strerror or str(error)
    except RecursionError:
        reason = "it nests too deeply, or holds itself"
    except (ValueError, yaml.YAMLError) as error:  # also dates and numbers that are none
        reason = " ".join(str(error).split())
    else:
        return content
    raise ValueError(f"Expected {path} to be a configuration in YAML, but reading it fails: {reason.rstrip('.')}.")


def _nodes(value: Any, known: dict[int, int]) -> int:
    """Values within a value, each alias counted; what is shared is walked once."""
    if not isinstance(value, (dict, list)):
        return 1
    if id(value) not in known:
        parts = value if isinstance(value, list) else [*value.values(), *value]
        known[id(value)] = 1 + sum(_nodes(part, known) for part in parts)
    return known[id(value)]
