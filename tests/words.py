"""Words of command lines: the smallest search, on the smallest data, without a screen."""

from __future__ import annotations

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
MODEL = ["--model=DARTS", "--model.space=NASBench201", "--model.cells=1", "--model.channels=2"]
DATA = ["--data=Digits", "--data.batch_size=16", "--data.fractions=[0.06, 0.04, 0.04]"]
SMALL = [*MODEL, *DATA, *QUIET]
