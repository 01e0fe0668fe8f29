"""Wrong configurations and options give one sentence that names them, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from refusals import DATA, MODEL, QUIET, SEARCH, check_refusals, said

ROWS: dict[str, tuple[Sequence[str], str]] = {
    "unknown command": (["serach"], "Expected a command among quickstart, fit, validate, test, evaluate, "),
    "nothing to fit": (["fit"], "Expected `data` and `model` to be given, but got none."),
    "missing configuration": (
        ["fit", "-c", "none.yaml"],
        "Expected `--config` to be a YAML file or the name of one that ",
    ),
    "configuration is a folder": (
        ["fit", "-c", "empty"],
        "Expected `--config` to be a YAML file or the name of one that ",
    ),
    "malformed YAML": (
        ["fit", "-c", "malformed.yaml"],
        "Expected malformed.yaml to be a configuration in YAML, but reading it fails: ",
    ),
    "YAML without options": (["fit", "-c", "list.yaml"], "Expected `--config` to be a YAML file of options with "),
    "misspelt section": (
        ["fit", "-c", "section.yaml"],
        "Expected an option of the command, but got `modle`; did you mean `model`?",
    ),
    "misspelt trainer option in YAML": (
        ["fit", "-c", "trainer.yaml"],
        "Expected an option of the command, but got `trainer.max_epoch`; did you mean `trainer.max_epochs`?",
    ),
    "misspelt model option in YAML": (
        ["fit", "-c", "model.yaml"],
        "Expected an option of DARTS, but got `chanels`; did you mean `channels`?",
    ),
    "misspelt trainer option": (
        [*SEARCH, "--trainer.max_epoch=2"],
        "Expected an option of the command, but got `--trainer.max_epoch`; did you mean `trainer.max_epochs`?",
    ),
    "misspelt model option": (
        [*SEARCH, "--model.momentun=0.5"],
        "Expected an option of DARTS, but got `momentun`; did you mean `momentum`?",
    ),
    "misspelt data option": (
        [*SEARCH, "--data.batchsize=4"],
        "Expected an option of Digits, but got `batchsize`; did you mean `batch_size`?",
    ),
    "misspelt option of a part": (
        [*SEARCH, "--model.relaxation=Softmax", "--model.relaxation.temprature=1"],
        "Expected an option of Softmax, but got `temprature`; did you mean `temperature`?",
    ),
    "α on the simplex, stepped by Adam": (
        [*SEARCH, "--model.relaxation=Direct"],
        "Expected `arch_optimizer` to be `ExponentiatedGradient` beside the relaxation `Direct`, whose α are weights",
    ),
    "exponentiated gradients of logits": (
        [*SEARCH, "--model.arch_optimizer=ExponentiatedGradient"],
        "Expected `relaxation` to be `Direct` beside the optimiser `ExponentiatedGradient`, whose steps multiply",
    ),
    "decay of α on the simplex": (
        ["fit", "--model=GAEA", "--model.space=NASBench201", "--model.arch_weight_decay=0.1", *DATA],
        "Expected `arch_weight_decay` to be 0 beside the relaxation `Direct`, where α are weights that sum to one",
    ),
    "annealed weights": (
        [*SEARCH, "--model.relaxation=Annealed", "--model.relaxation.relaxation=Direct"],
        "Expected `relaxation` to be one of logits, which a temperature divides, but got `Direct`, whose α are weights",
    ),
    "misspelt model": (
        ["fit", "--model=DART", *DATA],
        "Expected `model` to be the name or import path of a class that fits, but got 'DART'; did you mean `DARTS`?",
    ),
    "misspelt import path": (
        ["fit", "--model=robustnas.variants.DART", *DATA],
        "Expected `model` to be the name or import path of a class that fits, but got 'robustnas.variants.DART'",
    ),
    "misspelt part": (
        [*SEARCH, "--model.gradient=Unroled"],
        "Expected `gradient` to be the name or import path of a class that fits, but got 'Unroled'; did you mean",
    ),
    "data for a model": (
        ["fit", "--model=robustnas.data.Digits", *DATA],
        "Expected `model` to be the name or import path of a class that fits, but got 'robustnas.data.Digits'.",
    ),
    "a word for weights": (
        [*SEARCH, "--model.class_weights=heavy"],
        "Expected `class_weights` to be 'balanced' or list, but got 'heavy'.",
    ),
    "a word for a number": ([*SEARCH, "--model.channels=four"], "Expected `channels` to be int, but got 'four'."),
    "a fraction for a whole number": (
        [*SEARCH, "--trainer.max_epochs=1.5"],
        "Expected `trainer.max_epochs` to be int, but got '1.5'.",
    ),
    "too few numbers": ([*SEARCH, "--data.fractions=[0.5, 0.5]"], "Expected `fractions` to be a tuple with 3 elements"),
    "not one of the choices": (
        [*SEARCH, "--model.step_order=random"],
        "Expected `step_order` to be one of 'arch_first', 'weights_first', but got 'random'.",
    ),
    "option without a value": ([*SEARCH, "--run-dir"], "Expected `--run-dir` to have a value, but got none."),
    "stray word": ([*SEARCH, "now"], "Expected an option of the command, but got `now`"),
    "negative seed": ([*SEARCH, "--seed_everything=-1"], "Expected `seed_everything` to be a number from 0 to 429"),
    "random seed": ([*SEARCH, "--seed_everything=true"], "Expected `seed_everything` to be a number from 0 to 4294"),
    "no epochs": ([*SEARCH, "--trainer.max_epochs=0"], "Expected `max_epochs` to be at least 1, but got 0."),
    "epochs not given": (["fit", *MODEL, *DATA], "Expected `max_epochs` to be at least 1, but got None."),
    "negative step size": ([*SEARCH, "--model.lr=-1"], "Expected `lr` to be positive, but got -1.0."),
    "undefined step size": (
        [*SEARCH, "--model.lr=.nan"],
        "Expected `model.init_args.lr` to be a finite number, but got nan.",
    ),
    "no channels": ([*SEARCH, "--model.channels=0"], "Expected `channels` to be at least 1, but got 0."),
    "layers in NAS-Bench-201": (
        [*SEARCH, "--model.layers=3"],
        "Expected `cells` to set the depth in the space NASBench201, but got `layers` = 3.",
    ),
    "unknown space": ([*SEARCH, "--model.space=DART"], "Expected `space` to be one of ['DARTS', 'DARTSWithoutNone',"),
    "a threshold where every edge stays": (
        [*SEARCH, "--model.selection=Threshold"],
        "Expected a space in which nodes may keep fewer edges, such as DARTSFewerEdges, with the selection `Threshold`",
    ),
    "a penalty for other shares": (
        [*SEARCH, "--model.relaxation=Sigmoid", "--model.penalty=EntropyPenalty"],
        "Expected a `penalty` that means something for shares whose rows do not sum to one, as those of the relaxation",
    ),
    "a reference beside a target": (
        [*SEARCH, *(f"--model.penalty{one}" for one in ("=ExpectedCost", ".table=c", ".reference=80", ".target=90"))],
        "Expected either `reference` or `target`, a cost to weigh or one to meet, but got 80.0 and 90.0.",
    ),
    "a perturbation on one level": (
        [*SEARCH, "--model.gradient=SingleLevel", "--model.perturbation=RandomPerturbation"],
        "Expected `perturbation` to be `Unperturbed` beside the single-level gradient `SingleLevel`, where",
    ),
    "space that cannot be imported": ([*SEARCH, "--model.space=no_such.SPACE"], "Expected `space` to be one of ['DAR"),
    "classes that the data do not have": (
        [*SEARCH, "--model.num_classes=7"],
        "Expected `num_classes` to be 10, as in the data, but got 7; it can be left out.",
    ),
    "task that the data do not have": (
        [*SEARCH, "--model.task=regression"],
        "Expected `task` to be 'classification', as in the data, but got 'regression'; it can be left out.",
    ),
    "unknown operation": (
        [*SEARCH, "--model.space=test_bad_input_space.UNKNOWN"],
        "Expected every operation of the space to be one of ['avg_pool_3x3', 'conv_7x1_1x7', 'dil_conv_3x3',",
    ),
    "images too small": (
        ["fit", "--model=DARTS", "--model.stem=imagenet", "--model.channels=2", "--model.layers=3", *DATA, *QUIET],
        "Expected `images` to be at least 32 x 32 pixels, since the network divides their size by 32, but got 8 x 8.",
    ),
    "float16": ([*SEARCH, "--trainer.precision=16-mixed"], "Expected `precision` to be 32-true, 64-true or bf16-mixed"),
    "unknown precision": ([*SEARCH, "--trainer.precision=17"], "Expected `trainer.precision` to be one of 64, 32, "),
    "unknown accelerator": (
        [*SEARCH, "--trainer.accelerator=quantum"],
        "Expected `trainer` to be valid on this machine, but Lightning reports: You selected an invalid acc",
    ),
    "batch larger than the data": (
        [*SEARCH, "--data.batch_size=5000"],
        "Expected `batch_size` to give at least one full batch of the 86 samples of 'weights', but got 5000.",
    ),
    "empty batches": ([*SEARCH, "--data.batch_size=0"], "Expected `batch_size` to be at least 1, but got 0."),
    "shares above one": (
        [*SEARCH, "--data.fractions=[0.5, 0.5, 0.5]"],
        "Expected `fractions` to be shares of weights, arch and selection that sum to at most one, but got (0.5, 0.5,",
    ),
}

UNKNOWN = """
from robustnas.spaces.space import SearchSpace, complete_cell

UNKNOWN = SearchSpace("mine", {"cell": complete_cell(1, 3, ("skip_connect", "magic"), (3,))}, "nasbench201")
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that is wrong in the rows above."""
    folder = tmp_path_factory.mktemp("place")
    texts = {
        "malformed.yaml": "model: [unclosed\n",
        "list.yaml": "- a\n",
        "section.yaml": "modle: DARTS\ndata: Digits\n",
        "trainer.yaml": "model: DARTS\ndata: Digits\ntrainer:\n  max_epoch: 3\n",
        "model.yaml": "model:\n  class_path: DARTS\n  init_args:\n    chanels: 4\ndata: Digits\n",
        "test_bad_input_space.py": UNKNOWN,
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "empty").mkdir()
    return folder


def test_wrong_input_is_named_before_anything_is_trained(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_refusals(ROWS, place, capsys, monkeypatch)


OWN = """
from dataclasses import dataclass
from robustnas.strategies import Penalty, Relaxation

@dataclass(frozen=True)
class Half(Penalty):
    weight: float = 0.5

    def of(self, alphas, shares, context):
        return self.weight

@dataclass(frozen=True)
class Bare(Relaxation):
    def mixture(self, alpha, context):
        return alpha.softmax(dim=-1)
"""


@pytest.mark.parametrize(
    ("options", "beginning"),
    [
        ("--model.penalty=own.Half --model.penalty.wieght=1", "Expected an option of Half, but got `wieght`; did you "),
        ("--model.penalty=own.Half --model.penalty.none=1", "Expected an option of Half, but got `none`, which has we"),
        (
            "--model.penalty=own.Bare",
            "Expected `penalty` to be the name or import path of a class that fits, but got 'o",
        ),
        ("--model.relaxation=own.Bare", "Expected `mixture` of Bare to return a Mixture, but got a Tensor."),
    ],
)
def test_mistakes_in_an_own_part_are_named(
    options: str, beginning: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"own_{tmp_path.name}"  # a module of its own for each case, since imports are kept
    (tmp_path / f"{name}.py").write_text(OWN, encoding="utf-8")
    sentence = said([*SEARCH, *options.replace("own.", f"{name}.").split()], capsys)
    assert sentence.startswith(beginning), sentence
