"""Places where no file can be written."""

from __future__ import annotations

import pytest

from robustnas.runtime.atomic_files import write_text


@pytest.mark.parametrize("path", ["/", ".", ""])
def test_a_folder_is_no_place_for_a_file(path: str) -> None:
    with pytest.raises(IsADirectoryError):
        write_text(path, "")
