"""Parquet files become images and targets; files, columns and rows that do not fit are refused by name."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from tables import check_each

from robustnas.data import ParquetImages, parquet

CIFAR = Path(__file__).resolve().parents[2] / "../shared/data/cifar10"
needs_cifar = pytest.mark.skipif(not CIFAR.is_dir(), reason="CIFAR-10 is not in ../shared/data")


def picture(value):
    pixels = np.random.default_rng(value).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue(), torch.from_numpy(pixels).permute(2, 0, 1)


def write(path, columns, features=None):
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path)
    return path


def cells(*values):
    return [{"bytes": picture(value)[0], "path": None} for value in values]


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "train.parquet", {"img": cells(0, 1, 2, 3), "label": [1, 0, 1, 2]})


def test_rows_become_images_and_labels(file):
    train, test = ParquetImages(str(file)).load()
    assert test is None
    assert torch.equal(train.pixels, torch.stack([picture(value)[1] for value in range(4)]))
    assert train.targets.tolist() == [1, 0, 1, 2]
    assert train.classes == ("0", "1", "2")


def test_class_names_come_from_the_description(tmp_path):
    features = {"label": {"_type": "ClassLabel", "names": ["ant", "bee", "cow", "doe"]}}
    path = write(tmp_path / "x.parquet", {"img": cells(0, 1), "label": [2, 0]}, features)
    assert ParquetImages(path).load()[0].classes == ("ant", "bee", "cow", "doe")


def test_text_labels_are_sorted_and_shared_with_the_test_part(tmp_path):
    train = write(tmp_path / "train.parquet", {"image": cells(0, 1, 2), "kind": ["bee", "ant", "cow"]})
    test = write(tmp_path / "test.parquet", {"image": cells(3), "kind": ["cow"]})
    parts = ParquetImages(train, test, image_column="image", target_columns="kind").load()
    assert [part.targets.tolist() for part in parts] == [[1, 0, 2], [2]]
    assert parts[0].classes == parts[1].classes == ("ant", "bee", "cow")


def test_a_folder_is_read_in_the_order_of_names(tmp_path):
    write(tmp_path / "shards" / "b.parquet", {"img": cells(2, 3), "label": [0, 1]})
    write(tmp_path / "shards" / "a.parquet", {"img": cells(0, 1), "label": [1, 1]})
    images = ParquetImages(tmp_path / "shards").load()[0]
    assert torch.equal(images.pixels, torch.stack([picture(value)[1] for value in range(4)]))
    assert ParquetImages(tmp_path / "shards", limit=3).load()[0].targets.tolist() == [1, 1, 0]


def test_limit_takes_the_first_rows_of_each_part(file):
    train, test = ParquetImages(file, file, limit=2).load()
    assert train.targets.tolist() == [1, 0]
    assert len(test) == 2


def test_images_by_path_and_as_plain_bytes(tmp_path):
    content, pixels = picture(5)
    (tmp_path / "x.png").write_bytes(content)
    by_path = write(tmp_path / "p.parquet", {"img": [{"bytes": None, "path": "x.png"}] * 2, "label": [0, 1]})
    plain = write(tmp_path / "b.parquet", {"img": [content] * 2, "label": [0, 1]})
    for path in (by_path, plain):
        assert torch.equal(ParquetImages(path).load()[0].pixels[1], pixels)


def test_several_columns_and_columns_of_lists(tmp_path):
    columns = {"img": cells(0, 1), "a": [0.5, 2.0], "b": [1, 3], "both": [[0, 1], [1, 1]]}
    path = write(tmp_path / "x.parquet", columns)
    regression = ParquetImages(path, target_columns=["a", "b"], task="regression").load()[0]
    assert (regression.classes, regression.targets.tolist()) == (("a", "b"), [[0.5, 1.0], [2.0, 3.0]])
    multilabel = ParquetImages(path, target_columns="both", task="multilabel").load()[0]
    assert (multilabel.classes, multilabel.targets.tolist()) == (("both_0", "both_1"), [[0, 1], [1, 1]])


def test_the_second_load_comes_from_the_cache(file, monkeypatch):
    first = ParquetImages(file).load()[0]
    monkeypatch.setattr(parquet, "decode", None)
    assert ParquetImages(file).load()[0].content_hash() == first.content_hash()
    with pytest.raises(TypeError):
        ParquetImages(file, limit=3).load()


def test_the_cache_lies_beside_the_files_or_where_told(file, tmp_path):
    ParquetImages(file).load()
    assert len(list((tmp_path / ".robustnas").iterdir())) == 1
    ParquetImages(file, cache_dir=tmp_path / "c").load()
    assert len(list((tmp_path / "c").iterdir())) == 1


def test_a_new_file_leaves_the_cache(file):
    ParquetImages(file).load()
    write(file, {"img": cells(0, 1, 2, 9), "label": [1, 0, 1, 0]})
    assert ParquetImages(file).load()[0].targets.tolist() == [1, 0, 1, 0]


def test_bad_files_are_named(tmp_path, file):
    with pytest.raises(ValueError, match=r"Expected `train` to be a parquet file .* but got '.*nowhere'"):
        ParquetImages(tmp_path / "nowhere").load()
    with pytest.raises(ValueError, match="Expected `test` to be a parquet file"):
        ParquetImages(file, tmp_path / "nowhere").load()
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"Expected '.*train.parquet' to be a readable parquet file, but got"):
        ParquetImages(file).load()
    file.write_text("no parquet at all")
    with pytest.raises(ValueError, match=r"Expected '.*train.parquet' to be a readable parquet file, but got"):
        ParquetImages(file).load()


def test_a_missing_column_is_named_with_those_there(file):
    with pytest.raises(ValueError, match=r"to have the column 'image', but its columns are \['img', 'label'\]"):
        ParquetImages(file, image_column="image").load()


def test_bad_rows_are_named(tmp_path_factory):
    rows = [
        (
            {"img": [{"bytes": b"xx", "path": None}] * 2, "label": [0, 1]},
            "classification",
            r"got 2 that are not: row 0 of .* \(not an image in a supported format\), row 1 of",
        ),
        (
            {"img": [*cells(0), None], "label": [0, 1]},
            "classification",
            r"got 1 that is not: row 1 of .* \(neither bytes nor path of an image, but NoneType\)",
        ),
        ({"img": [7, 8], "label": [0, 1]}, "classification", r"row 0 of .* but int\), row 1"),
        ({"img": cells(0, 1), "label": [0.5, 1]}, "classification", "class indices or names, but got 0.5 in row 0"),
        ({"img": cells(0, 1), "label": [0, None]}, "classification", "1 of 2 rows have none: 1, counted from 0"),
        (
            {"img": cells(0, 1, 2), "label": [0, -1, 1]},
            "classification",
            "class indices from 0 on or names, but got -1 in row 1",
        ),
        ({"img": cells(0, 1), "label": ["1", "x"]}, "regression", "to hold numbers, but got 'x' in row 1"),
        ({"img": cells(0, 1), "label": [[1.0], [1.0, 2.0]]}, "regression", "lists of several lengths"),
        ({"img": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, "classification", "at least one row"),
    ]

    def check(row):
        columns, task, message = row
        tmp_path = tmp_path_factory.mktemp("row")
        with pytest.raises(ValueError, match=message):
            ParquetImages(write(tmp_path / "x.parquet", columns), task=task).load()

    check_each(rows, check)


def test_impossible_options_are_refused_at_once():
    with pytest.raises(ValueError, match="Expected `limit` to be at least 1 or None, but got 0"):
        ParquetImages("anywhere", limit=0)


@needs_cifar
def test_cifar10_has_its_classes_and_its_brightness(tmp_path):
    data = ParquetImages(CIFAR / "train.parquet", CIFAR / "test.parquet", limit=2000, cache_dir=tmp_path)
    assert data.classes == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    assert data.image_shape == (3, 32, 32)
    assert {role: len(indices) for role, indices in data.split.indices.items()} == {
        "weights": 900,
        "arch": 900,
        "selection": 200,
        "test": 2000,
    }
    torch.testing.assert_close(torch.tensor(data.prepare.mean), torch.tensor([0.491, 0.482, 0.447]), rtol=0, atol=0.01)
    torch.testing.assert_close(torch.tensor(data.prepare.std), torch.tensor([0.247, 0.243, 0.262]), rtol=0, atol=0.01)
