"""Evaluating an architecture for real: training its network, and measuring it on samples it is not trained on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustnas.analysis.metrics import VAL_TOP1
from robustnas.spaces import Genotype, encode, find_space

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

    from robustnas.data import ImageData
    from robustnas.training import Found

Report = Callable[[int, float], None]
"""Is told after an epoch how many are done and how good the network is now."""

Train = Callable[[Genotype, int, Report], None]
"""Trains an architecture for some epochs and reports after each."""


@dataclass(frozen=True)
class Training:
    """Trains architectures from scratch, as ``robustnas evaluate`` does, and validates them after every epoch.

    It is asked in two ways: called with an architecture and a number of epochs it answers with the last score, as
    random search and evolution want it; :meth:`train` reports after every epoch, as successive halving wants it. The
    test set is not touched. A network is trained with a learning rate that falls over the epochs asked for.

    Args:
        data: Makes the data; every training makes its own.
        architecture: Size of the networks; its genotype is replaced.
        options: Arguments of :class:`~robustnas.training.evaluation.EvaluationModule` beside the architecture and what
            the data say, such as ``lr`` and ``seed``.
        trainer: Arguments of Lightning's ``Trainer``.
        metric: What is reported, as it is logged; higher must be better.
        folder: Where every training leaves its record, in a folder named by space, number of the genotype and epochs;
            ``None`` for nowhere.
    """

    data: Callable[[], ImageData]
    architecture: Found
    options: Mapping[str, Any] = field(default_factory=dict)
    trainer: Mapping[str, Any] = field(default_factory=dict)
    metric: str = VAL_TOP1.name
    folder: str | None = None

    def __call__(self, genotype: Genotype, budget: float) -> float:
        """Train an architecture.

        Args:
            genotype: The architecture.
            budget: Epochs.

        Returns:
            Its score after the last epoch.

        Raises:
            ValueError: If the metric is not among those that are logged.
        """
        scores: list[float] = []
        self.train(genotype, int(budget), lambda epoch, score: scores.append(score))
        if not scores:
            raise ValueError(f"Expected `metric` to be logged after an epoch, but {self.metric!r} was not.")
        return scores[-1]

    def train(self, genotype: Genotype, epochs: int, report: Report) -> None:
        """Train an architecture and report after every epoch.

        Args:
            genotype: The architecture.
            epochs: How many.
            report: Is told the number of epochs done, and the score.
        """
        from pytorch_lightning import Callback, Trainer

        from robustnas.training import EvaluationModule

        metric = self.metric

        class Reporting(Callback):
            """Reports once validation of an epoch is done."""

            def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
                if metric in trainer.callback_metrics:
                    report(trainer.current_epoch + 1, float(trainer.callback_metrics[metric]))

        data = self.data()
        given: dict[str, Any] = {
            "num_classes": data.num_classes,
            "image_channels": data.image_shape[0],
            "task": data.task,
        }
        module = EvaluationModule(replace(self.architecture, genotype=str(genotype)), **given, **self.options)
        with self._place(genotype, epochs) as folder:
            quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
            fixed = {"use_distributed_sampler": False, "enable_model_summary": False, "default_root_dir": folder}
            trainer = Trainer(max_epochs=epochs, callbacks=[Reporting()], **{**quiet, **fixed, **self.trainer})
            trainer.fit(module, data)

    def _place(self, genotype: Genotype, epochs: int) -> AbstractContextManager[str]:
        if self.folder is None:
            return tempfile.TemporaryDirectory()
        space = find_space(self.architecture.space or genotype.space)
        name = f"{space.name}-{encode(genotype, space)}-{epochs}"
        return nullcontext(str(Path(self.folder, name)))
