"""What a part of a search may do at the events of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from robustnas.data.batch import Batch
from robustnas.networks import Mixture
from robustnas.spaces import Genotype

Resting = tuple[nn.Parameter, list[int] | Tensor | None]  # with the slices that rest; ``None`` for all of them


class SearchHook:
    """Follows a search for one of its parts; every method does nothing unless a subclass says otherwise.

    A part brings its hook by :data:`~robustnas.training.hooks.registry.hook_for`. The hook keeps the state that the
    part, which is frozen, cannot keep; it travels in the checkpoint.
    """

    name: ClassVar[str]  # of the state in a checkpoint, and of the hook in ``SearchModule.hooks``
    search_epochs: int | None = None  # of the search itself, where they are not all epochs of the trainer
    goes_back: ClassVar[bool] = False  # whether its state belongs to the weights, and returns with them to an epoch

    @property
    def multiplier(self) -> float:
        """Lagrange multiplier of a constraint, which the penalty of α is told."""
        return 0.0

    @property
    def over(self) -> bool:
        """Whether the search ends here by the decision of the part."""
        return False

    @property
    def trains_on(self) -> bool:
        """Whether epochs of training follow the search, so that nothing may end the run before."""
        return False

    @property
    def selecting(self) -> bool:
        """Whether those epochs have begun; the rules of the search are not asked in them."""
        return False

    def setup(self) -> None:
        """Before training starts: refuse what cannot work."""

    def begin_training(self) -> None:
        """At the start of training, also of a resumed one."""

    def begin_epoch(self) -> None:
        """At the start of an epoch."""

    def watched(self) -> Sequence[str]:
        """Names of weights whose gradient of the architecture loss the hook wants at each step of α."""
        return ()

    def arch_slopes(self, slopes: Mapping[str, Tensor]) -> None:
        """In a step of α: the gradient of its loss by watched weights of all hooks, averaged over processes."""

    def alpha_moved(self) -> None:
        """After a step of α."""

    def weight_slopes(self, slopes: dict[str, Tensor], batch: Batch, mixtures: Mapping[str, Mixture]) -> None:
        """In a step of the weights, before clipping: change their gradient, averaged over processes.

        The gradient on ``batch`` at ``mixtures`` was averaged over processes, and is the hook's to write into. What it
        adds must be the same on all processes.
        """

    def descended(self, slopes: Mapping[str, Tensor]) -> None:
        """In a step of the weights, after clipping: the gradient that they descend."""

    def resting(self) -> Sequence[Resting]:
        """Weights that a step of the weights leaves alone, as neither decay nor momentum does by itself."""
        return ()

    def last_step(self, batch: Batch) -> None:
        """After the last step of an epoch, with the last batch of α's steps, before the learning rate changes."""

    def steps_done(self) -> None:
        """After :meth:`last_step` of all hooks, when the state of the epoch is complete."""

    def end_epoch(self) -> None:
        """At the end of an epoch: after its record, before its checkpoint."""

    def end_training(self) -> None:
        """After training that was not interrupted, when the genotype is final."""

    def teardown(self) -> None:
        """After training, however it ended."""

    def genotype(self) -> Genotype | None:
        """The architecture found, where the hook knows it."""
        return None

    def architecture_weights(self) -> dict[str, Tensor] | None:
        """Architecture weights with which the search ended, where they are not the present ones."""
        return None

    def state_dict(self) -> Any:
        """The state of the hook, as what a checkpoint may hold; empty for none."""
        return {}

    def load_state_dict(self, state: Any) -> None:
        """Go on from :meth:`state_dict`; ``None`` where a checkpoint has none."""

    def carry(self, checkpoint: Mapping[str, Any]) -> None:
        """Adapt what a checkpoint holds of optimisers to changed options; called only where options have changed."""
