"""The configuration of a run, in its folder and with those loggers that show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pytorch_lightning import Trainer
from pytorch_lightning.cli import SaveConfigCallback

from robustnas.runtime.atomic_files import write_text
from robustnas.training.lightning.displays import displays
from robustnas.training.recorder import run_folder


class SaveConfig(SaveConfigCallback):
    """Writes ``config.yaml`` atomically, without `ckpt_path` if the checkpoint belongs to the run itself."""

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        folder = run_folder(trainer)  # processes wait for each other here
        if trainer.is_global_zero and not self.already_saved:
            config = self.config.clone()
            if config.ckpt_path is not None and folder.resolve() in Path(config.ckpt_path).resolve().parents:
                config.ckpt_path = None
            text = self.parser.dump(config, skip_none=False)
            write_text(folder / self.config_filename, text)
            sections = yaml.safe_load(text)
            sections["trainer"].pop("logger", None)  # of no interest there, and it may name servers
            for display in displays(trainer):
                display.configuration(sections)
        self.already_saved = True
