"""Predictions of images in every form are the same, and the command writes them as tables with metrics."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made import picture, write_parquet
from PIL import Image
from refusals import refused, said
from tables import check_each

import robustnas
from robustnas.__main__ import main
from robustnas.data import InputSpec, Preprocess
from robustnas.data.decoding import Decoding
from robustnas.inference import Labels, Prediction, TrainedNetwork, Values
from robustnas.inference.rows import row_of
from robustnas.inference.scores import Scores
from robustnas.networks import ResNet


def shares(found: list[Prediction]) -> list[object]:
    """Probabilities, which differ in the last digits between batches of other sizes."""
    return [pytest.approx(one.probabilities, abs=1e-6) for one in found]


def test_every_form_of_an_image_is_predicted_alike(made: Path, network: TrainedNetwork) -> None:
    files = sorted((made / "images").rglob("*.png"))[:5]
    pictures = [Image.open(file) for file in files]
    arrays = torch.stack(
        [torch.from_numpy(np.array(one)).permute(2, 0, 1) for one in pictures]
    )  # 12 x 12, resized to 8
    expected = robustnas.predict(network, files)
    assert [one.label for one in expected] == [network.classes[one.index] for one in expected]
    assert all(sum(one.probabilities) == pytest.approx(1) for one in expected)
    for images in (list(map(str, files)), pictures, arrays, list(arrays), arrays / 255):
        assert [one.probabilities for one in network.predict(images, batch_size=2)] == shares(expected)
    assert network.predict(files[0]) == network.predict(pictures[0]) == network.predict(arrays[0])
    assert [one.probabilities for one in network.train().predict(files)] == shares(expected)
    assert network.training
    network.eval()


def test_grey_is_converted_only_where_training_did(network: TrainedNetwork, tmp_path: Path) -> None:
    grey = Image.new("L", (8, 8), 200)
    assert network.predict(grey) == network.predict(grey.convert("RGB"))
    spec = network.preprocess.spec
    strict = Preprocess(InputSpec(spec.shape, spec.mean, spec.std, spec.classes, spec.task))
    grey.convert("RGB").resize((9, 8)).save(tmp_path / "wide.png")
    rows = [
        (strict, grey, "of mode L, where training took RGB and converted none"),
        (strict, str(tmp_path / "wide.png"), "of 8 x 9 pixels, not of 8 x 8 as in training, which resizes none"),
        (strict, torch.zeros(1, 8, 8), "a tensor of shape [1, 8, 8], not [3, 8, 8]"),
        (network.preprocess, torch.zeros(4, 8, 8), "a tensor of shape [4, 8, 8], not [3, 8, 8]"),
        (network.preprocess, torch.full((3, 8, 8), 2.0), "with values from 2 to 2, not 0 to 1"),
        (network.preprocess, torch.zeros(3, 8, 8, dtype=torch.int64), "a tensor of torch.int64"),
        (network.preprocess, str(tmp_path / "gone.png"), "is unreadable: no such file or directory"),
        (network.preprocess, torch.zeros(3, 0, 0, dtype=torch.uint8), "a tensor without pixels, of shape [3, 0, 0]"),
        (network.preprocess, torch.full((3, 8, 8), torch.nan), "values that are no numbers"),
        (network.preprocess, [np.zeros((8, 8, 3))], "of the type ndarray, not a path"),
        (network.preprocess, [], "Expected at least one image, but got none"),
    ]
    check_each(rows, lambda row: refused(row[0], row[1], expected=row[2]))
    refused(robustnas.predict, network, grey, 0, expected="Expected `batch_size` to be at least 1, but got 0.")


def test_gradients_reach_floating_point_images(network: TrainedNetwork) -> None:
    images = torch.rand(1, 3, 8, 8, requires_grad=True)
    network(network.preprocess(images)).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_labels_and_values_of_other_tasks() -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    for task in ("multilabel", "regression"):
        spec = InputSpec((3, 8, 8), (0.5,) * 3, (0.5,) * 3, ("a", "b"), task, Decoding())
        one = TrainedNetwork(ResNet(2, 1, 2), spec)
        outputs = one(one.preprocess(images)).detach()
        for row, found in zip(outputs, one.predict(images), strict=True):
            if isinstance(found, Labels):
                assert found.labels == tuple(name for name, value in zip("ab", row, strict=True) if value >= 0)
                assert found.probabilities == pytest.approx(row.sigmoid().tolist())
                assert row_of("x", found, one.classes, 1, None)["a"] == found.probabilities[0]
            else:
                assert isinstance(found, Values)
                assert found.values == pytest.approx(row.tolist())
                assert row_of("x", found, one.classes, 1, None) == {
                    "file": "x",
                    "a": found.values[0],
                    "b": found.values[1],
                }


def test_scores_count_as_torchmetrics_does() -> None:
    from torchmetrics.functional import accuracy

    shares, targets = torch.rand(40, 7).softmax(1), torch.randint(0, 7, (40,))
    scores = Scores([f"c{i}" for i in range(7)])
    for part in range(0, 40, 10):
        scores.count(shares[part : part + 10], targets[part : part + 10].tolist())
    scores.count(shares[:1], [None])
    options = {"task": "multiclass", "num_classes": 7, "average": "micro"}
    assert scores.metrics()["top1"] == pytest.approx(accuracy(shares, targets, **options).item())
    assert scores.metrics()["top5"] == pytest.approx(accuracy(shares, targets, top_k=5, **options).item())
    each = accuracy(shares, targets, task="multiclass", num_classes=7, average="none")
    assert f"  c3: {each[3]:.1%} of {int((targets == 3).sum())}" in scores.text()


def test_the_command_writes_tables_and_metrics(
    made: Path, network: TrainedNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, images = str(made / "run"), made / "images"
    assert (
        main(["predict", run, str(images), "--out", str(tmp_path / "all.csv"), "--top", "2", "--batch-size", "7"]) == 0
    )
    printed = capsys.readouterr()
    with (tmp_path / "all.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = network.predict([row["file"] for row in rows])
    assert [row["label"] for row in rows] == [one.label for one in expected]
    assert [float(row["probability_2"]) for row in rows] == pytest.approx(
        [min(one.probabilities) for one in expected], abs=1e-6
    )
    right = sum(row["label"] == row["target"] == Path(row["file"]).parent.name for row in rows)
    assert f"top1: {right / 48:.2%} of 48 images" in printed.out
    table = write_parquet(tmp_path / "some.parquet", count=6, size=12)
    assert main(["predict", run, str(table), str(images / "class0" / "0.png")]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == "file,label,index,probability,target"
    assert [line.rpartition(",")[2] for line in printed.out.splitlines()[1:]] == ["class0", "class1"] * 3 + [""]
    assert "of 6 images" in printed.err
    assert main(["predict", run, str(table), "--label-column", "none"]) == 0
    printed = capsys.readouterr()
    assert {line.rpartition(",")[2] for line in printed.out.splitlines()[1:]} == {""}
    assert "images" not in printed.err


def test_an_image_that_cannot_be_read_is_left_out_and_listed(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mixed, out = tmp_path / "mixed", tmp_path / "out.jsonl"
    mixed.mkdir()
    (mixed / "a.png").write_bytes(picture(0.5, 0))
    (mixed / "b.png").write_bytes(b"damaged")
    run = str(made / "run" / "evaluation")
    assert main(["predict", run, str(mixed), "--out", str(out)]) == 3
    assert "1 left out: " in capsys.readouterr().err
    (line,) = out.read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["file"] == str(mixed / "a.png")
    (mixed / "a.png").unlink()
    assert said(["predict", run, str(mixed), "--out", str(out)], capsys).startswith(
        "Expected at least one image that can"
    )
    assert json.loads(out.read_text(encoding="utf-8"))["file"] == str(mixed / "a.png")  # the table before stays


def test_command_lines_that_cannot_work(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    table = write_parquet(tmp_path / "some.parquet", count=2)
    empty = write_parquet(tmp_path / "empty.parquet", count=0)
    other = write_parquet(tmp_path / "other.parquet", classes=5, count=5)
    run, some = str(made / "run"), str(made / "images")
    none = "Expected at least one image that can be read, but got none: the files have no rows."
    rows = [
        ([run, str(empty)], none),
        ([run, str(other)], f"Expected column 'label' of '{other}' to hold indices below 2, the number of its class"),
        ([run], "Expected at least one PATH, a file or a folder of images, but got none."),
        (
            [run, str(tmp_path / "empty")],
            f"Expected {tmp_path / 'empty'} to hold images, but got a folder without any.",
        ),
        ([run, str(tmp_path / "gone")], "Expected a file or a folder of images, but there is no"),
        ([run, str(tmp_path / "notes.txt")], "Expected a parquet file, or an image that ends in one of .bmp"),
        ([run, str(table), "--image-column", "x"], f"Expected {table} to have the column x of images"),
        ([run, some, "--out", "a.txt"], "Expected `--out` to end in .csv or .jsonl, but got a.txt."),
        ([run, some, "--top", "3"], "Expected `--top` to be at most 2, the number of classes, but got 3."),
        ([run, some, "--batch-size", "0"], "Expected `--batch-size` to be at least 1, but got 0."),
        ([run, some, "--device", "abacus"], "Expected `--device` to be one of this machine, but got 'abacus'"),
        ([str(tmp_path / "empty"), some], "Expected `run` to be a run with a checkpoint"),
    ]

    def check(row: tuple[list[str], str]) -> None:
        sentence = said(["predict", *row[0]], capsys)
        assert sentence.startswith(row[1]), sentence

    check_each(rows, check)
    assert said(["predict", run, str(other)], capsys).endswith(" `label_column` none leaves labels out.")
    for wrong in (["--top=0"], ["--out=a.txt"]):
        said(["predict", run, some, *wrong], capsys, [2])
