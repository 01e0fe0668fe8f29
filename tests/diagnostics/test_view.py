"""What TensorBoard gets of a search, read back from its event file, and the curves in the folder of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from robustnas.diagnostics import AlphaShares, Diagnostic, Diagnostics, DiscretisationGap, LoggerView
from robustnas.diagnostics.view import COMPARED, columns, flat
from robustnas.variants import DARTS, SmoothDARTS
from runs import fit, rows, search
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2

from robustnas.analysis import Metric, Threshold, judge_run, register, registry
from robustnas.analysis.registry import panels
from robustnas.training.description import describe

pytestmark = pytest.mark.usefixtures("few_samples")

EVERYTHING = dict.fromkeys(("images", "histograms", "scalars", "tensors"), 0)
PNG = b"\x89PNG"


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance=EVERYTHING)
    found.Reload()
    return found


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EventAccumulator, list[dict[str, float]]]:
    """Three epochs of five steps on S2, with pictures every second epoch."""
    folder = tmp_path_factory.mktemp("seen")
    logger = TensorBoardLogger(folder, "", "", default_hp_metric=False)
    watching = Diagnostics([AlphaShares(), DiscretisationGap(), LoggerView(interval=2)], budget=None)
    running = fit(folder, search("S2", channels=2), max_epochs=3, logger=logger, callbacks=[watching])
    return folder, events(folder), rows(running)


def test_pictures_at_the_steps_of_the_figures(seen: Any) -> None:
    _, found, _ = seen
    assert set(found.Tags()["images"]) == {"heatmap/normal", "heatmap/reduce", "genotype", "curves"}
    figures = [event.step for event in found.Scalars("gap/loss")]
    assert figures == [event.step for event in found.Scalars("val/loss")] == [4, 9, 14]
    for tag in ("heatmap/normal", "heatmap/reduce", "genotype"):
        assert [image.step for image in found.Images(tag)] == [4, 14]
    assert [image.step for image in found.Images("curves")] == [14]


def test_pictures_are_as_wide_as_a_card_shows_them(seen: Any) -> None:
    _, found, _ = seen
    for tag in ("heatmap/normal", "heatmap/reduce", "curves", "genotype"):
        for image in found.Images(tag):
            assert image.width == 350
            assert image.encoded_image_string.startswith(PNG)
    maps = found.Images("heatmap/normal")
    assert maps[0].encoded_image_string != maps[-1].encoded_image_string


def test_histograms_hold_one_share_for_each_candidate(seen: Any) -> None:
    _, found, _ = seen
    assert found.Tags()["histograms"] == ["shares/normal", "shares/reduce"]
    assert not {*found.Tags()["histograms"]} & {*found.Tags()["images"], *found.Tags()["scalars"]}  # one form each
    histogram = found.Histograms("shares/normal")[-1]
    assert histogram.step == 14
    assert histogram.histogram_value.sum == pytest.approx(14, abs=1e-4)  # one for each edge


def test_the_page_of_charts_finds_its_lines(seen: Any) -> None:
    _, found, _ = seen
    pages = [
        layout_pb2.Layout.FromString(held.tensor_proto.string_val[0]).category[0]
        for held in found.Tensors("custom_scalars__config__")
    ]
    assert [page.title for page in pages] == ["Is it collapsing?"] * 2
    before, page = ([chart.title for chart in page.chart] for page in pages), pages[-1]
    everything = [panel.title for panel in panels(("normal", "reduce"))]
    assert next(before) == everything
    unmeasured = {"Edges without parameters", "Agreement of gradients", "Largest Hessian eigenvalue in α"}
    assert {"Loss", "Accuracy", "Decision"} <= {*next(before)} <= {*everything} - unmeasured  # none stays empty
    accuracy = next(chart for chart in page.chart if chart.title == "Accuracy")
    assert list(accuracy.multiline.tag) == ["^val/top1$", "^gap/discrete_accuracy$"]
    assert {"val/top1", "gap/discrete_accuracy"} <= set(found.Tags()["scalars"])


def test_shares_by_kind_are_left_to_the_record(seen: Any) -> None:
    _, found, record = seen
    shown = set(found.Tags()["scalars"])
    assert {"shares/skip_connect", "shares/parameter_free_normal"} <= shown
    assert "shares/skip_connect_normal" not in shown
    assert all("shares/skip_connect_normal" in row for row in record)


def test_searches_are_compared_by_what_they_are_and_their_last_values(seen: Any) -> None:
    _, found, _ = seen
    data = {tag: metadata.plugin_data for tag, metadata in found.summary_metadata.items() if tag.startswith("_hparams")}
    contents = {tag: plugin_data_pb2.HParamsPluginData.FromString(held.content) for tag, held in data.items()}
    start = contents["_hparams_/session_start_info"].session_start_info.hparams
    assert start["Method"].string_value == "DARTS"
    assert start["layers"].number_value == 3
    assert len(start) <= 10
    metrics = [info.name.tag for info in contents["_hparams_/experiment"].experiment.metric_infos]
    assert metrics == [metric.name for metric in COMPARED]
    assert not [tag for tag in found.Tags()["scalars"] if tag.startswith("hp")]  # no placeholder
    assert [event.step for event in found.Scalars("gap/discrete_accuracy")] == [4, 9, 14]


def test_the_verdict_is_a_text_with_a_table(seen: Any) -> None:
    _, found, _ = seen
    (event,) = found.Tensors("verdict/text_summary")
    text = event.tensor_proto.string_val[0].decode()
    assert event.step == 14
    assert text.startswith("## ")
    assert "**Take** " in text


def test_curves_lie_in_the_folder(seen: Any) -> None:
    folder, _, _ = seen
    assert (folder / "curves.png").read_bytes().startswith(PNG)
    svg = (folder / "curves.svg").read_text(encoding="utf-8")
    assert "<svg" in svg
    assert all(title in svg for title in ("Accuracy", "Share of operations"))


@pytest.mark.parametrize("kind", ["none", "csv"])
def test_other_loggers_get_the_figures_and_no_picture(tmp_path: Path, kind: str) -> None:
    logger: Any = CSVLogger(tmp_path, "csv") if kind == "csv" else False
    measures = [AlphaShares(), LoggerView()]
    running = fit(tmp_path, search(), max_epochs=1, logger=logger, callbacks=[Diagnostics(measures, budget=None)])
    assert "alpha/entropy" in rows(running)[0]
    assert (tmp_path / "curves.png").is_file()
    assert (tmp_path / "curves.svg").is_file()
    assert (tmp_path / "verdict.json").is_file()
    assert not list(tmp_path.rglob("events*"))


def test_a_part_is_named_by_its_class_and_its_own_numbers() -> None:
    nested = {"class_path": "a.B", "init_args": {"size": 2, "inner": {"class_path": "c.D"}, "pair": [1, 2], "no": None}}
    description = {"class_path": "x.Y", "init_args": {"part": nested, "lr": 0.1, "on": True}}
    assert flat(description) == {
        "method": "Y", "part": "B", "part.size": 2, "part.inner": "D", "part.pair": "[1, 2]", "lr": 0.1, "on": True,
    }  # fmt: skip


def test_columns_are_few_and_show_what_differs() -> None:
    plain = columns(DARTS(layers=3, space="S2", channels=4).description)
    assert plain.keys() == {"Method", "space", "channels", "layers", "lr", "arch_lr", "arch_weight_decay", "seed"}
    smooth = columns(SmoothDARTS(layers=3, space="S2", channels=4, clip=1.0).description)
    assert smooth["Method"] == "SmoothDARTS"
    assert smooth["perturbation"] == "AdversarialPerturbation"
    assert smooth["clip"] == 1.0
    assert columns(describe(DARTS(layers=3, space="S2"), {}))["Method"] == "DARTS"


def test_an_own_diagnostic_is_one_class_and_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts, curves and verdict show it, and so does a process that reads the run without the user's module."""
    monkeypatch.setattr(registry, "METRICS", dict(registry.METRICS))
    monkeypatch.setattr(registry, "_ADOPTED", set())
    sign = Threshold("own_sign", ">", 0.0, "hints", "own", "epochs pass", ())
    metric = register(Metric("own/epochs", "epochs seen", worse="high", panel="Epochs", thresholds=(sign,)))

    class Own(Diagnostic):
        free = True

        def measure(self, search: Any, probe: Any) -> dict[str, float]:
            return {metric.name: float(search.current_epoch + 1)}

    logger = TensorBoardLogger(tmp_path, "", "", default_hp_metric=False)
    fit(
        tmp_path,
        search(),
        limit_train_batches=2,
        max_epochs=2,
        logger=logger,
        callbacks=[Diagnostics([Own(), LoggerView()], None)],
    )
    config = events(tmp_path).Tensors("custom_scalars__config__")[-1].tensor_proto.string_val[0]
    chart = layout_pb2.Layout.FromString(config).category[0].chart[-1]
    assert (chart.title, list(chart.multiline.tag)) == ("Epochs", ["^own/epochs$"])
    assert "Epochs" in (tmp_path / "curves.svg").read_text(encoding="utf-8")
    del registry.METRICS[metric.name]
    evidence = next(e for e in judge_run(tmp_path).evidence if e.threshold.name == "own_sign")
    assert (evidence.value, evidence.threshold.measure, evidence.since) == (2.0, "epochs seen", 0)
