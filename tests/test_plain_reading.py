"""What YAML and torch make of files, where their own ways would mislead."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from robustnas.runtime.safe_files import load_checkpoint
from robustnas.runtime.safe_yaml import read_yaml


def test_a_time_is_no_number_in_base_60(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("a: 1:30\nb: 1:12:00:00\nc: 1:30.5\nd: 90\n")
    assert read_yaml(path) == {"a": "1:30", "b": "1:12:00:00", "c": "1:30.5", "d": 90}


class _Calls:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("true",)


@pytest.mark.parametrize("content", ["code", "{}", "x" * 100])
def test_torch_does_not_advise_to_execute_a_checkpoint(content: str, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    if content == "code":
        torch.save({"a": _Calls()}, path)
    else:
        path.write_text(content)
    with pytest.raises(
        ValueError, match=r"^(it needs the code of \w+.system, which is not run|no file of torch.save.*)$"
    ):
        load_checkpoint(path)
