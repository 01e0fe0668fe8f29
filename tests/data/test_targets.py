"""Labels as other tools write them become the same targets, or are refused by row."""

from __future__ import annotations

import json
import math

import pytest
from tables import check_each
from test_parquet import cells, write

from robustnas.data import ParquetImages
from robustnas.data.targets import encode_targets


def encoded(values, **known):
    targets = encode_targets({"label": values}, "classification", "here", **known)
    return targets.names, targets.values.tolist()


def test_classes_are_the_labels_that_there_are():
    rows = [
        ([1, 2, 3, 1], ("1", "2", "3"), [0, 1, 2, 0]),
        ([7, 0, 2], ("0", "2", "7"), [2, 0, 1]),
        ([0.0, 2.0, 10.0], ("0", "2", "10"), [0, 1, 2]),
        (["1.0", "0.0", "1.0"], ("0", "1"), [1, 0, 1]),
        (["1.5", "0.0"], ("0.0", "1.5"), [1, 0]),
        (["b", "a"], ("a", "b"), [1, 0]),
        (["10", "007", "9", "0"], ("0", "007", "9", "10"), [3, 1, 2, 0]),
        (["9" * 5000, "8"], ("8", "9" * 5000), [1, 0]),
        ([True, False], ("0", "1"), [1, 0]),
    ]

    def check(row):
        values, names, expected = row
        assert encoded(values) == (names, expected)

    check_each(rows, check)


def test_a_class_may_be_called_as_a_gap_is_among_words():
    assert encoded(["none", "a"]) == (("a", "none"), [1, 0])


def test_indices_stand_for_names_and_names_for_places():
    assert encoded([2, 0], names=("ant", "bee", "cow")) == (("ant", "bee", "cow"), [2, 0])
    assert encoded([0, 1], names=("bee", "ant"), classes=("ant", "bee")) == (("ant", "bee"), [1, 0])
    assert encoded([3, 1], classes=("1", "2", "3")) == (("1", "2", "3"), [2, 0])
    assert encoded(["3.0", "1.0"], classes=("1", "2", "3")) == (("1", "2", "3"), [2, 0])


def test_labels_that_are_none_are_named_by_their_row():
    rows = [
        ([0, None, 1, math.nan], {}, "2 of 4 rows have none: 1, 3, counted from 0"),
        (["a", " ", "b"], {}, "1 of 3 rows have none: 1"),
        (["1.0", "nan", "2.0", "nan"], {}, "2 of 4 rows have none: 1, 3"),
        ([None] * 30, {}, "30 of 30 rows have none: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 20 more"),
        ([0, 1.5], {}, "class indices or names, but got 1.5 in row 1"),
        ([0, math.inf], {}, "class indices or names, but got inf in row 1"),
        ([0, -1], {}, "but got -1 in row 1, which usually marks a sample without label"),
        (["0", "-1"], {}, "but got -1 in row 1, which usually marks a sample without label"),
        ([0, 5], {"names": ("a", "b")}, "indices below 2, the number of its class names a, b, but got 5 in row 1"),
        ([0, 4], {"classes": ("0", "1")}, "classes of 0, 1, but got '4' in row 1"),
    ]

    def check(row):
        values, known, message = row
        with pytest.raises(ValueError, match=message):
            encoded(values, **known)

    check_each(rows, check)


def described(path, metadata, label=(0, 1, 2)):
    write(path, {"img": cells(*range(len(label))), "label": list(label)})
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    content = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    pq.write_table(table.replace_schema_metadata({"huggingface": content}), path)
    return ParquetImages(path).load()[0]


def names_of(value):
    return {"info": {"features": {"label": {"names": value, "_type": "ClassLabel"}}}}


def test_metadata_of_others_never_stop_a_run(tmp_path_factory):
    rows = [
        {"info": None},
        {"info": {"features": None}},
        {"info": {"features": ["label"]}},
        {"info": {"features": {"label": "int64"}}},
        {"info": {"features": {"label": None}}},
        names_of(None),
        names_of([]),
        [],
        "text",
        None,
        7,
        b"no JSON",
        b"\xff\xfe",
        b"[" * 100_000,
    ]

    def check(metadata):
        tmp_path = tmp_path_factory.mktemp("row")
        images = described(tmp_path / "x.parquet", metadata)
        assert (images.classes, images.reading) == (("0", "1", "2"), {})

    check_each(rows, check)


def test_names_that_cannot_be_used_are_left_out_and_said(tmp_path_factory):
    rows = [["a", "a", "b"], "abc", {"0": "a", "2": "b"}, [["a"], "b"], 3]

    def check(value):
        tmp_path = tmp_path_factory.mktemp("row")
        images = described(tmp_path / "x.parquet", names_of(value))
        assert images.classes == ("0", "1", "2")
        assert images.reading == {"ignored_names": json.dumps(value)}

    check_each(rows, check)


def test_names_may_be_a_dict_of_indices(tmp_path):
    images = described(tmp_path / "x.parquet", names_of({"1": "dog", "0": "cat", "2": "fox"}), label=(2, 0, 1))
    assert images.classes == ("cat", "dog", "fox")
    assert images.targets.tolist() == [2, 0, 1]


def test_labels_from_one_are_the_same_classes_in_every_part(tmp_path):
    write(tmp_path / "train.parquet", {"img": cells(0, 1, 2), "label": [1, 2, 3]})
    write(tmp_path / "test.parquet", {"img": cells(3, 4), "label": [3.0, 1.0]})
    for _ in range(2):  # decoded, then from the cache
        train, test = ParquetImages(tmp_path / "train.parquet", tmp_path / "test.parquet").load()
        assert train.classes == test.classes == ("1", "2", "3")
        assert test.targets.tolist() == [2, 0]


def test_a_part_whose_metadata_order_the_names_otherwise_is_read_by_name(tmp_path):
    for name, order in (("train", ["ant", "bee"]), ("test", ["bee", "ant"])):
        write(tmp_path / f"{name}.parquet", {"img": cells(0, 1), "label": [0, 1]}, names_of(order)["info"]["features"])
    train, test = ParquetImages(tmp_path / "train.parquet", tmp_path / "test.parquet").load()
    assert (train.targets.tolist(), test.targets.tolist()) == ([0, 1], [1, 0])


def test_files_of_several_parts_in_one_folder_are_told_apart(tmp_path):
    folder = tmp_path / "data"
    for name, values in (("train-0", (0, 1)), ("train-1", (2, 3)), ("test-0", (4, 5)), ("validation-0", (6, 7))):
        write(folder / f"{name}.parquet", {"img": cells(*values), "label": [0, 1]})
    with pytest.raises(ValueError, match=r"the files of one part, but got 'test-0.parquet' beside 'train-\d.parquet'"):
        ParquetImages(folder).load()
    data = ParquetImages(folder / "train-*.parquet", folder / "test-*.parquet", val=folder / "val*.parquet")
    assert (len(data.split.train), len(data.split.test)) == (6, 2)
    assert data.split.given == {"selection": 2, "test": 2}
    with pytest.raises(ValueError, match=r"Expected `val` to be a parquet file or a folder of them, .* holds none"):
        ParquetImages(folder / "train-*.parquet", val=folder / "x*.parquet").load()


def test_files_that_name_the_classes_differently_are_refused(tmp_path):
    for name, order in (("a", ["ant", "bee"]), ("b", ["bee", "ant"])):
        write(tmp_path / "x" / f"{name}.parquet", {"img": cells(0), "label": [0]}, names_of(order)["info"]["features"])
    with pytest.raises(ValueError, match=r"to name the same classes, but '.*a.parquet' and '.*b.parquet' differ"):
        ParquetImages(tmp_path / "x").load()


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [pa.array(cells(0, 1)), pa.array([0, 1]), pa.array([1, 0])]
    pq.write_table(pa.Table.from_arrays(columns, ["img", "label", "label"]), tmp_path / "x.parquet")
    with pytest.raises(ValueError, match="the column 'label', but it has 2 of that name"):
        ParquetImages(tmp_path / "x.parquet").load()
