r"""The curvature of α's loss as it is measured once for everyone: the stopping rule and the diagnostic.

:math:`\lambda_\max` of :math:`\nabla^2 L_\text{arch}`, the mean of the Hessians on chunks of fixed samples, with these
conventions:

- **Samples**: drawn once from the role arch by the seed of the search, and not augmented: a new draw in each epoch
  would add its own noise to every difference. Few samples give a value that is noisy and too high, since the largest
  eigenvalue of a noisy mean exceeds that of the mean.
- **BatchNorm** normalises by the statistics of each chunk, as in the steps of α: that is the loss that α descends, and
  the one whose curvature was found to foretell collapse. Running statistics are left as they are.
- **Weight decay** of α is not counted, so that the number is comparable between methods; the penalty is.
- **Parameters**: all of α, and β where there is one: a joint Hessian.
- **Drop path** is off. Whatever draws uses the same random numbers in every chunk, product and epoch.

The cost is (products) x (chunks), each product about 2.7 forward and backward passes of its chunk, since only the graph
of one chunk is held. On supernets 10 to 20 products are usual, never more than there are α and β.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.func import functional_call

from robustnas.analysis.registry import uncertainty
from robustnas.curvature import Hessian, Operator
from robustnas.curvature.eigenvalue import Bounded, bounded_ends
from robustnas.data import Batch, Probe
from robustnas.data.batch import derived_seed
from robustnas.networks.batchnorm_statistics import frozen_batchnorm_statistics
from robustnas.runtime.precision import full_precision
from robustnas.training.processes import Averaged, process
from robustnas.training.scoring import image_data
from robustnas.training.search_state import SearchState

CHUNK = 32  # samples at most whose graph is held at a time
TOLERANCE = 0.05
PRODUCTS = 12  # of an iteration, as a rule


class Measured(NamedTuple):
    """A largest eigenvalue as it is reported."""

    value: float  # found; the largest is at least this
    upper: float = math.nan  # what the largest on these samples is at most
    deviation: float = math.nan  # standard error as an estimate for all samples, by the jackknife over chunks
    products: int = 0
    chunks: int = 1

    def beside(self, name: str) -> dict[str, float]:
        """What is logged beside the value: what it is uncertain by, as far as that is known."""
        known = dict(zip(uncertainty(name), (self.upper, self.deviation), strict=True))
        return {key: value for key, value in known.items() if math.isfinite(value)}


class ProbeHessian(Operator):
    """The mean of Hessians on chunks, one graph at a time; several processes share the chunks."""

    def __init__(
        self, losses: Sequence[Callable[[], Tensor]], sizes: Sequence[int], parameters: Sequence[Tensor], shared: bool
    ) -> None:
        super().__init__(sum(parameter.numel() for parameter in parameters), parameters[0])
        self.losses, self.parameters = list(losses), list(parameters)
        self.weights = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
        self.parts: list[Tensor] = []  # for each product those of the chunks, [chunks, size], in float64 on the CPU
        rank, count = process() if shared else (0, 1)
        self._several, self._own = count > 1, range(rank, len(self.losses), count)
        self._only = self._chunk(self._own[0]) if len(self._own) == 1 else None

    def _chunk(self, place: int) -> Hessian:
        return Hessian(self.losses[place](), self.parameters)

    def product(self, vector: Tensor) -> Tensor:
        rows = vector.new_zeros(len(self.losses), self.size)
        for place in self._own:
            rows[place] = (self._chunk(place) if self._only is None else self._only).product(vector).detach()
        if self._several:
            dist.all_reduce(rows)  # as sums: every row has one part that is not zero: the same bits as on one process
        self.parts.append(rows.cpu().double())
        return (self.weights @ self.parts[-1]).to(vector)


def probe_batches(search: SearchState, probe: Probe, samples: int) -> list[Batch]:
    """The chunks that curvature is measured on."""
    size = max(min(CHUNK, probe.data.batch_size), 2)
    return probe.drawn("arch", samples, size, derived_seed(search.seed, "curvature"))


def probe_hessian(search: SearchState, batches: Sequence[Batch], shared: bool) -> ProbeHessian:
    """The Hessian of α's loss on chunks; callers see to full precision, running statistics and the random state."""
    weights = {name: weight.detach() for name, weight in search.supernet.named_parameters()}

    def loss_on(batch: Batch) -> Tensor:
        seed = derived_seed(search.seed, "curvature")
        context = replace(search.context("arch"), generator=torch.Generator().manual_seed(seed))
        torch.manual_seed(seed)  # for operations that draw
        outputs = functional_call(search.supernet, weights, (batch.images, search.mixtures(context), 0.0))
        return search.penalised(search.loss_of(outputs, batch.targets), context)

    losses = [partial(loss_on, batch) for batch in batches]
    return ProbeHessian(losses, [len(batch.targets) for batch in batches], search.arch_parameters, shared)


def largest(hessian: ProbeHessian, tolerance: float = TOLERANCE) -> Measured:
    """The largest eigenvalue, what it is at most, and how much it depends on the samples."""
    return measured(bounded_ends(hessian, tolerance)[0], hessian)


def measured(found: Bounded, hessian: ProbeHessian) -> Measured:
    """A largest eigenvalue with the jackknife over chunks, in the space that the iteration has seen."""
    chunks, deviation = len(hessian.losses), math.nan
    if chunks > 1 and math.isfinite(found.value):
        parts = torch.einsum("sk,lcs->ckl", found.basis, torch.stack(hessian.parts))  # [chunks, products, products]
        mean = torch.einsum("c,ckl->kl", hessian.weights, parts)
        weights = hessian.weights[:, None, None]
        without = (mean - weights * parts) / (1 - weights)
        each = torch.linalg.eigvalsh((without + without.mT) / 2)[:, -1]
        deviation = float(((each - each.mean()).square().sum() * (chunks - 1) / chunks).sqrt())
    return Measured(found.value, found.value + found.bound, deviation, found.products, chunks)


def measure(search: SearchState, samples: int) -> Measured:
    """Measure for the stopping rule, on all processes together."""
    dtype = next(search.supernet.parameters()).dtype
    probe = Probe(image_data(search.trainer, "CurvatureRise measures", "arch"), search.device, dtype)
    devices = [search.device] if search.device.type == "cuda" else []
    still = frozen_batchnorm_statistics(search.supernet)
    with still, torch.random.fork_rng(devices), full_precision(search.device.type):
        return largest(probe_hessian(search, probe_batches(search, probe, samples), shared=True))


def last_batch_eigenvalue(search: SearchState, batch: Batch) -> tuple[float, float]:
    """Largest eigenvalue of the Hessian of α's loss as RobustDARTS has it, and an upper bound."""
    weights = {name: weight.detach() for name, weight in search.supernet.named_parameters()}
    still = frozen_batchnorm_statistics(search.supernet)
    with still, torch.random.fork_rng(), full_precision(search.device.type):
        hessian = Hessian(search.arch_loss(batch, weights), list(search.alphas.values()))
        found, _ = bounded_ends(Averaged(hessian), 0.01)
    value = found.value + search.arch_weight_decay
    return value, value + found.bound
