"""Spaces are found by name or import path, and no module is imported that is not trusted."""

from __future__ import annotations

import sys

import pytest
from tables import check_each

from robustnas.spaces import (
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
    Mobile,
    MobileSmall,
    NASBench201,
    darts_like,
    find_space,
)

KNOWN = [
    DARTS, DARTSWithoutNone, DARTSWithoutSkip, DARTSSingleCell, DARTSSingleCellWithoutSkip, DARTSAllEdges,
    DARTSFewerEdges, DARTSAnyEdges, S1, S2, S3, S4, NASBench201, Mobile, MobileSmall,
]  # fmt: skip


def test_a_name_or_a_space_gives_the_space() -> None:
    for space in KNOWN:
        assert find_space(space.name) is find_space(space) is space


def test_an_import_path_gives_the_space_of_a_users_module(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("modules")
    (folder / "my_space.py").write_text(
        "from robustnas.spaces import darts_like\nSMALL = darts_like('Small', ('skip_connect', 'sep_conv_3x3'))\n"
    )
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(ValueError, match="would run code of the module my_space"):
        find_space("my_space.SMALL")
    assert "my_space" not in sys.modules
    monkeypatch.setenv("ROBUSTNAS_TRUST", "other,my_space")
    assert find_space("my_space.SMALL") == darts_like("Small", ("skip_connect", "sep_conv_3x3"))


def test_anything_else_is_refused_with_the_list_of_names() -> None:
    def check(path: object) -> None:
        with pytest.raises(
            ValueError,
            match=r"Expected `space` to be one of \['DARTS', .*'NASBench201SkipConv', 'Mobile', 'MobileSmall'\]",
        ):
            find_space(path)

    check_each(
        [
            "S5",
            "",
            "robustnas.spaces.S9",
            "robustnas.spaces.Genotype",
            "...",
            ".spaces.S1",
            "a-b.S",
            ["DARTS"],
        ],
        check,
    )


def test_a_module_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "no_such_module.SPACE"
    with pytest.raises(ValueError, match=f"Expected names of robustnas, .* but got '{path}'"):
        find_space(path)
    monkeypatch.setenv("ROBUSTNAS_TRUST", "no_such_module")
    with pytest.raises(ValueError, match="Expected "):
        find_space(path)
