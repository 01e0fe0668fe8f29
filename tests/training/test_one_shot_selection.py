"""A search whose selection measures the supernet at its end: the scores, the record, and a search that goes on."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from phases import TINY, briefly, tiny
from pytorch_lightning.callbacks import ModelCheckpoint
from robustnas.variants import DARTS, GDAS, PCDARTS, SparsemaxDARTS
from runs import StopAfter, differing, digits, fit, rows, state
from tables import with_slow

from robustnas.networks import Mixture
from robustnas.runs.record import Run
from robustnas.spaces import Genotype
from robustnas.strategies import BestOfSampled, LargestDrop, Selection, ShareThreshold, SkipDominance, Strongest

SELECTIONS: dict[str, tuple[Selection, str]] = {
    "one shot": (LargestDrop("loss", finetune=0), "decisions.json"),
    "by α": (BestOfSampled(6, "loss", source="alpha"), "sampled.json"),
}


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_search_ends_with_the_genotype_of_its_record_and_trains_as_without(name: str, tmp_path: Path) -> None:
    selection, file = SELECTIONS[name]
    saver = ModelCheckpoint(tmp_path, "last", save_on_train_epoch_end=True)
    running = briefly(tmp_path / "run", tiny(selection), max_epochs=2, callbacks=[saver])
    module: Any = running.lightning_module
    assert running.current_epoch == module.search_epochs == 2
    without = briefly(tmp_path / "plain", tiny(Strongest()), max_epochs=2)
    assert differing(state(running), state(without)) == []
    assert rows(running) == rows(without)

    found = module.genotype().validate(TINY)
    assert found == module.hooks["one_shot_selection"].found.genotype == Run(tmp_path / "run").genotype()
    again = tiny(selection)
    again.on_load_checkpoint(torch.load(tmp_path / "last.ckpt", weights_only=True))
    assert again.genotype() == found
    record = json.loads((tmp_path / "run" / file).read_text(encoding="utf-8"))
    if file == "sampled.json":
        assert record["best"] == str(found)
        best = min(record["sampled"], key=lambda one: one["loss"])
        assert Genotype.from_text(best["genotype"]) == found
    else:
        gone = {(one["cell"], edge) for one in record["decisions"] if "node" in one for edge in one["drops"]}
        kept = {(one["cell"], one["edge"]): one["keeps"] for one in record["decisions"] if "edge" in one}
        assert {(kind, f"{c.source}-{c.node}"): c.operation for kind, cell in found.cells.items() for c in cell} == {
            place: operation for place, operation in kept.items() if place not in gone
        }


def test_every_score_is_that_of_the_supernet_at_the_end(tmp_path: Path) -> None:
    data = digits(eval_batch_size=1000)
    module: Any = briefly(tmp_path, tiny(LargestDrop("loss", finetune=0)), data=data).lightning_module
    batch = next(iter(data.loader("selection")))
    images = data.prepare(batch).images
    supernet = copy.deepcopy(module.supernet).train()
    for one in json.loads((tmp_path / "decisions.json").read_text(encoding="utf-8"))["decisions"]:
        kind, cell = one["cell"], TINY.cells[one["cell"]]
        edges = [edge.name for edge in cell.edges]
        for name, score in one["without"][0].items():
            weights = {k: alpha.detach().softmax(dim=-1) for k, alpha in module.alphas.items()}
            if "edge" in one:
                row = edges.index(one["edge"])
                weights[kind][row, cell.edges[row].operations.index(name)] = 0
            else:
                weights[kind][edges.index(name)] = 0
            with torch.no_grad():
                logits = supernet(images, {k: Mixture(weight) for k, weight in weights.items()})
            assert score["loss"] == pytest.approx(float(F.cross_entropy(logits, batch.targets)), rel=1e-5)
            assert score["accuracy"] == pytest.approx(float((logits.argmax(1) == batch.targets).double().mean()))


@pytest.mark.parametrize("name", with_slow(SELECTIONS, ["one shot"]))
def test_a_search_that_was_killed_ends_as_the_undisturbed_one(name: str, tmp_path: Path) -> None:
    selection, file = SELECTIONS[name]
    whole = briefly(tmp_path / "whole", tiny(selection), max_epochs=2)
    saver = ModelCheckpoint(tmp_path, "last", enable_version_counter=False, every_n_train_steps=3)
    with pytest.raises(RuntimeError, match="killed"):
        briefly(tmp_path / "cut", tiny(selection), max_epochs=2, callbacks=[saver, StopAfter(3)])
    resumed = briefly(tmp_path / "cut", tiny(selection), tmp_path / "last.ckpt", max_epochs=2)
    assert differing(state(resumed), state(whole)) == []
    assert (tmp_path / "cut" / file).read_text() == (tmp_path / "whole" / file).read_text()
    again, module = resumed.lightning_module, whole.lightning_module
    assert again.genotype() == module.genotype()  # type: ignore[union-attr, operator]


@pytest.mark.slow
def test_a_search_that_goes_on_selects_again(tmp_path: Path) -> None:
    rule = LargestDrop("loss", finetune=0)
    saver = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    briefly(tmp_path / "short", tiny(rule), callbacks=[saver])
    more = briefly(tmp_path / "more", tiny(rule), tmp_path / "epoch=0.ckpt", max_epochs=2)
    whole = briefly(tmp_path / "whole", tiny(rule), max_epochs=2)
    assert [
        {one["epoch"] for one in json.loads((tmp_path / name / "decisions.json").read_text())["decisions"]}
        for name in ("short", "more", "whole")
    ] == [{0}, {1}, {1}]
    assert more.global_step == whole.global_step


OTHERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "GDAS": (GDAS, {"space": "NASBench201", "cells": 1}),
    "edge weights": (PCDARTS, {"space": "S2", "layers": 3, "arch_start": 0}),
    "sparsemax": (SparsemaxDARTS, {"space": "NASBench201", "cells": 1, "arch_lr": 1.0}),
    "pruned": (DARTS, {"space": "NASBench201", "cells": 1, "pruning": ShareThreshold(0.2, 0.2)}),
    "stopped": (DARTS, {"space": "NASBench201", "cells": 1, "stopping": SkipDominance(max_skips=0)}),
}


ONCE = (("one shot", "edge weights"), ("one shot", "pruned"), ("by α", "stopped"), ("by α", "sparsemax"))


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        pytest.param(rule, name, marks=pytest.mark.slow if (rule, name) in ONCE else [])
        for rule in SELECTIONS
        for name in OTHERS
    ],
)
def test_any_search_can_be_selected_from(name: str, rule: str, tmp_path: Path) -> None:
    kind, options = OTHERS[name]
    selection, file = SELECTIONS[rule]
    module = kind(**{"channels": 4, "image_channels": 1, "selection": selection, **options})
    fit(tmp_path, module, max_epochs=2, limit_train_batches=2, limit_val_batches=1)
    module.genotype().validate(module.space)
    assert module.genotype() == Run(tmp_path).genotype()
    assert (tmp_path / file).is_file()


def test_other_data_than_those_of_the_library_are_refused(tmp_path: Path) -> None:
    from torch.utils.data import DataLoader

    with pytest.raises(ValueError, match="on whose role selection BestOfSampled measures the supernet"):
        fit(tmp_path, tiny(BestOfSampled()), data=DataLoader([0]))
