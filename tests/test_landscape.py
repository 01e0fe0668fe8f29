"""The landscape around α: planes of known functions, and the command on a tiny run."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from words import SMALL

from robustnas import variants
from robustnas.__main__ import main
from robustnas.commands.landscape import measure
from robustnas.curvature import Hessian
from robustnas.curvature.landscape import Landscape, orthonormal, over_plane, random_directions
from robustnas.data import Digits, Probe
from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.networks.mixture import one_hots
from robustnas.plotting.cells import render
from robustnas.plotting.curves import landscape_figure

RUN = ["fit", *SMALL, "--trainer.limit_train_batches=2", "--trainer.max_epochs=1", "--diagnostics.measures=[]"]


def test_the_plane_of_a_quadratic_is_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    matrix, centre = root @ root.T, torch.randn(6, generator=generator, dtype=torch.float64)
    one, other = random_directions(6, 1)
    at = []

    def loss_at(point: torch.Tensor) -> float:
        at.append(point)
        return float((point - centre) @ matrix @ (point - centre)) / 2

    reach, plane = over_plane(loss_at, centre, one, other, 2.0, 5)
    assert reach.tolist() == [-2, -1, 0, 1, 2]
    assert len(at) == 25
    assert plane[2, 2] == 0
    for i, a in enumerate(reach):
        for j, b in enumerate(reach):
            step = a * one + b * other
            assert plane[i, j] == pytest.approx(float(step @ matrix @ step) / 2, rel=1e-12)
    assert np.allclose(plane, plane[::-1, ::-1], rtol=1e-12)
    assert not np.allclose(plane, plane.T)  # the first index goes along the first direction


def test_the_middle_is_the_point_itself_for_any_radius() -> None:
    centre = torch.tensor([0.1, 0.2])
    found = []
    over_plane(lambda point: float(found.append(point) or 0), centre, *torch.eye(2), 0.3, 7)
    assert torch.equal(found[24], centre)


def test_directions_are_orthonormal_and_follow_the_seed() -> None:
    one, other = random_directions(50, 4)
    assert torch.allclose(torch.stack([one, other]) @ torch.stack([one, other]).T, torch.eye(2).double(), atol=1e-14)
    assert torch.equal(random_directions(50, 4)[1], other)
    assert not torch.equal(random_directions(50, 5)[1], other)
    nearly = orthonormal([torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.0, 1e-3, 0.0])])
    assert torch.allclose(nearly[1], torch.tensor([0.0, 1.0, 0.0]), atol=1e-6)


def test_directions_that_depend_on_one_another_are_refused() -> None:
    for directions in ([torch.ones(3), -2 * torch.ones(3)], [torch.zeros(3)], [*torch.eye(2), torch.ones(2)]):
        with pytest.raises(ValueError, match="Expected `directions` to be independent"):
            orthonormal(directions)


@pytest.mark.parametrize(
    ("radius", "steps", "says"),
    [(0.0, 3, "radius"), (-1.0, 3, "radius"), (float("nan"), 3, "radius"), (float("inf"), 3, "radius"),
     (1.0, 4, "steps"), (1.0, 1, "steps")],
)  # fmt: skip
def test_bad_planes(radius: float, steps: int, says: str) -> None:
    with pytest.raises(ValueError, match=f"Expected `{says}` to be"):
        over_plane(lambda point: 0.0, torch.zeros(2), *torch.eye(2), radius, steps)


def test_a_landscape_knows_its_centre_and_rise_and_is_drawn_the_same_each_time() -> None:
    reach, line = np.linspace(-1, 1, 3), np.array([0.5, 0.7, 1.5])
    plane = np.array([[2.0, 1.0, 0.75], [1.0, 0.5, 1.0], [3.0, 0.4, 2.0]])
    landscape = Landscape(reach, plane, "random directions", np.linspace(0, 1, 3), line)
    assert (landscape.centre, landscape.rise) == (0.5, 2.5)
    assert json.loads(json.dumps(landscape.to_json()))["plane"] == plane.tolist()
    drawn = [render(landscape_figure(landscape, "DARTS in S2"), form) for form in ("svg", "svg", "png", "png")]
    assert drawn[0] == drawn[1]
    assert drawn[2] == drawn[3]
    flat = Landscape(reach, np.full((3, 3), 0.5), "random directions", landscape.share, line)
    assert render(landscape_figure(flat, "no slope at all"), "png")


def ready(variant: str = "DARTS", **options: Any) -> tuple[Any, list[Any]]:
    data = Digits(batch_size=16, fractions=(0.06, 0.04, 0.04))
    data.setup("fit")
    shared = {"space": "NASBench201", "cells": 1, "channels": 4, "image_channels": 1}
    search = getattr(variants, variant)(**{**shared, **options})
    for parameter in search.arch_parameters:
        parameter.data.normal_()
    return search, Probe(data, torch.device("cpu")).batches("arch", 2)


def mean_loss(search: Any, batches: list[Any], mixtures: Any) -> float:
    search.train()
    with torch.no_grad(), frozen_batchnorm_statistics(search.supernet):
        losses = [search.loss_of(search.supernet(b.images, mixtures), b.targets) * len(b.targets) for b in batches]
    return float(sum(losses)) / sum(len(batch.targets) for batch in batches)


@pytest.mark.parametrize(
    ("variant", "options"),
    [("DARTS", {}), ("DARTS", {"space": "S2", "cells": None, "layers": 3}), ("PCDARTS", {}), ("GDAS", {}),
     ("SparsemaxDARTS", {}), ("ProxylessNAS", {}), ("GAEA", {})],
)  # fmt: skip
def test_the_line_goes_from_the_mixture_to_the_genotype(variant: str, options: dict[str, Any]) -> None:
    search, batches = ready(variant, **options)
    before = {name: value.clone() for name, value in search.state_dict().items()}
    landscape = measure(search, batches, "random", 0.5, 3, 0)
    mixtures = search.mixtures(search.context("evaluation"))
    assert landscape.share.tolist() == [0, 0.5, 1]
    assert landscape.line[0] == pytest.approx(mean_loss(search, batches, mixtures), rel=1e-5)
    ends = one_hots(search.space, search.genotype(), torch.zeros(1))
    assert landscape.line[-1] == pytest.approx(mean_loss(search, batches, ends), rel=1e-5)
    arch = mean_loss(search, batches, search.mixtures(search.context("arch")))
    assert landscape.centre == pytest.approx(arch, rel=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in search.state_dict().items())


def test_a_point_of_the_plane_is_the_loss_at_that_alpha() -> None:
    search, batches = ready()
    landscape = measure(search, batches, "random", 2.0, 3, 7)
    alpha = search.alphas["cell"]
    one, other = random_directions(alpha.numel(), 7)
    alpha.data += (2 * one - 2 * other).view_as(alpha)
    moved = mean_loss(search, batches, search.mixtures(search.context("arch")))
    assert landscape.plane[2, 0] == pytest.approx(moved, rel=1e-5)
    assert landscape.directions == "random directions"
    assert len(landscape.reach) == 3


def test_along_the_top_eigenvectors_the_loss_bends_as_the_eigenvalues_say() -> None:
    search, batches = ready()
    search.double()
    doubled = [batch._replace(images=batch.images.double()) for batch in batches[:1]]
    radius = 1e-5  # within one linear piece of every ReLU
    landscape = measure(search, doubled, "eigenvectors", radius, 3, 0)
    weights = {name: weight.detach() for name, weight in search.supernet.named_parameters()}
    with frozen_batchnorm_statistics(search.supernet):
        loss, _ = search.loss(doubled[0], search.mixtures(search.context("arch")), weights)
    top = torch.linalg.eigvalsh(Hessian(loss, list(search.alphas.values())).dense())[-2:].flip(0)
    plane = landscape.plane
    bends = [(plane[2, 1] - 2 * plane[1, 1] + plane[0, 1]), (plane[1, 2] - 2 * plane[1, 1] + plane[1, 0])]
    assert bends == [pytest.approx(float(value) * radius**2, rel=1e-2) for value in top]
    assert landscape.directions == "the top eigenvectors"


def test_alpha_is_put_back_where_a_loss_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    search, batches = ready()
    before, calls = search.alphas["cell"].detach().clone(), []

    def fails(*_: Any) -> None:
        calls.append(1)
        if len(calls) > 4:
            raise RuntimeError("no memory left")

    monkeypatch.setattr(search.supernet, "forward", lambda *_: fails() or torch.zeros(16, 10))
    with pytest.raises(RuntimeError, match="no memory left"):
        measure(search, batches, "random", 1.0, 3, 0)
    assert torch.equal(search.alphas["cell"], before)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("landscape") / "run"
    assert main([*RUN, f"--run-dir={folder}"]) == 0
    return folder


@pytest.mark.parametrize("directions", ["random", "eigenvectors"])
def test_the_command_writes_numbers_and_pictures(
    run: Path, tmp_path: Path, directions: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["landscape", str(run / "last.ckpt"), "--directions", directions, "--steps=3", "--batches=1"]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    data = json.loads((tmp_path / "out/landscape.json").read_text(encoding="utf-8"))
    assert [len(row) for row in data["plane"]] == [3, 3, 3]
    assert (len(data["line"]), data["reach"], data["share"]) == (3, [-1, 0, 1], [0, 0.5, 1])
    assert np.isfinite(data["plane"]).all()
    with Image.open(tmp_path / "out/landscape.png") as image:
        assert image.width > image.height > 300
    assert ET.parse(tmp_path / "out/landscape.svg").getroot().tag.endswith("svg")
    said = capsys.readouterr().out
    assert f"Loss at α: {data['plane'][1][1]:.4f}" in said
    assert f"Loss at the genotype: {data['line'][-1]:.4f}" in said


def test_the_result_lies_in_the_run_by_default_and_is_the_same_again(run: Path) -> None:
    written = [run / f"landscape.{form}" for form in ("json", "png", "svg")]
    found = []
    for _ in range(2):
        assert main(["landscape", str(run), "--steps=3", "--batches=1"]) == 0
        found.append([path.read_bytes() for path in written])
        for path in written:
            path.unlink()
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--steps=4"], "Expected `steps` to be an odd number from 3 on, but got 4."),
        (
            ["--steps=1000000001"],
            "Expected `steps` to be at most 401, of which a plane has the square, but got 1000000001.",
        ),
        (["--radius=0"], "Expected `radius` to be positive and finite, but got 0.0."),
        (["--batches=0"], "Expected `--batches` to be at least 1, but got 0."),
    ],
)
def test_bad_options_are_one_sentence(
    run: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["landscape", str(run), *words]) == 1
    assert capsys.readouterr().err == f"robustnas: {says}\n"
    assert not (run / "landscape.json").exists()


def test_bad_checkpoints_are_one_sentence(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.ckpt").write_bytes((run / "last.ckpt").read_bytes()[:500])
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone/last.ckpt").write_bytes((run / "last.ckpt").read_bytes())  # no configuration beside it
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "none.ckpt", tmp_path / "broken.ckpt", tmp_path / "alone/last.ckpt", tmp_path / "empty"):
        assert main(["landscape", str(path)]) == 1, path
        said = capsys.readouterr().err
        assert said.startswith("robustnas: Expected "), said
        assert said.count("\n") == 1, said


def test_words_that_are_no_options_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["landscape", str(run), "--directions=up"]) == 2
    assert "Expected `--directions` to be one of 'random', 'eigenvectors', but got 'up'." in capsys.readouterr().err
