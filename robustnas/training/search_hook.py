"""What a part of a search may do at the events of its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from robustnas.data.batch import Batch
from robustnas.spaces import Genotype


class SearchHook:
    """Follows a search for one of its parts; every method does nothing unless a subclass says otherwise.

    A part brings its hook by :data:`~robustnas.training.hooks.registry.hook_for`. The hook keeps the state that the
    part, which is frozen, cannot keep; it travels in the checkpoint.
    """

    name: ClassVar[str]  # of the state in a checkpoint, and of the hook in ``SearchModule.hooks``
    search_epochs: int | None = None  # of the search itself, where they are not all epochs of the trainer

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

    def last_step(self, batch: Batch) -> None:
        """After the last step of an epoch, with the last batch of α's steps, before the learning rate changes."""

    def steps_done(self) -> None:
        """After :meth:`last_step` of all hooks, when the state of the epoch is complete."""

    def end_epoch(self) -> None:
        """At the end of an epoch: after its record, before its checkpoint."""

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
