"""Lightning's strategy for several processes, without its wrapper around the module."""

from __future__ import annotations

from pytorch_lightning.strategies import DDPStrategy, StrategyRegistry

from robustnas.training.processes import broadcast


class FlatStrategy(DDPStrategy):
    """Processes that start from one state, without the DDP wrapper: the search averages its gradients itself.

    The wrapper's hooks see neither ``torch.autograd.grad`` nor second backward passes, so that with them the
    processes would silently drift apart. On the command line: ``--trainer.strategy flat``.
    """

    def configure_ddp(self) -> None:
        assert self.model is not None
        broadcast([tensor.detach() for tensor in [*self.model.parameters(), *self.model.buffers()]])


StrategyRegistry.register("flat", FlatStrategy, description="Gradients averaged by the search itself")
