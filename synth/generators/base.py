"""The contract between a generator and everything around it, and addressed randomness."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from synth.generators.given import Given
from synth.generators.layout import Encoded

if TYPE_CHECKING:
    from synth.generators.student import Student

Call = Mapping[str, Callable[..., Any]]
ORDERS = 16


class Draw:
    """A source of random numbers found by its address instead of its history.

    ``Draw(seed, "sample", 7)`` yields the same numbers whenever and wherever it is made, so a step can be resumed and
    a block of samples replayed without a state to carry. Numbers are drawn on the CPU, in float32, and then moved to
    ``device``, so that devices agree on the noise. With ``part``, every draw is made for the ``total`` rows of a batch
    that is shared between workers and only this worker's rows ``part`` are kept: the noise a row gets does not depend
    on the number of workers.

    ``local`` numbers are drawn on ``device`` itself, and differ from one kind of device to another. That is for training,
    whose sums differ there, too, and which a GPU would do many times as fast as a CPU draws its noise; not for samples.
    """

    def __init__(
        self,
        *address: int | str,
        device: torch.device | str = "cpu",
        part: slice | None = None,
        total: int | None = None,
        local: bool = False,
    ) -> None:
        digest = hashlib.blake2b("/".join(map(str, address)).encode(), digest_size=8).digest()
        self._source = torch.Generator(device if local else "cpu").manual_seed(int.from_bytes(digest, "little") >> 1)
        self._device, self._part, self._total = device, part, total

    def _keep(self, rows: int, make: Callable[[int], Tensor]) -> Tensor:
        if self._part is None or self._total is None:
            return make(rows).to(self._device)
        return make(self._total)[self._part].to(self._device)

    @property
    def parts(self) -> int:
        """Over how many workers the rows of a batch are spread."""
        return 1 if self._part is None else self._part.step or 1

    def whole(self, rows: int) -> int:
        """How many rows the batch has of which this worker has ``rows``."""
        return rows if self._total is None else self._total

    def among_first(self, rows: int) -> int:
        """How many of the first ``rows`` of the batch are this worker's; they come first among its own."""
        return rows if self._part is None else len(range(rows)[self._part])

    def normal(self, rows: int, columns: int) -> Tensor:
        """(rows, columns) standard normal numbers."""
        return self._keep(rows, lambda n: torch.randn(n, columns, generator=self._source, device=self._source.device))

    def uniform(self, rows: int, columns: int) -> Tensor:
        """(rows, columns) numbers uniform on [0, 1)."""
        return self._keep(rows, lambda n: torch.rand(n, columns, generator=self._source, device=self._source.device))

    def gumbel(self, rows: int, columns: int) -> Tensor:
        """(rows, columns) standard Gumbel numbers: added to logits, the greatest of which is then a draw by them."""
        return -(-self.uniform(rows, columns).clamp_min(2**-24).log()).log()

    def stratified(self, rows: int, columns: int) -> Tensor:
        """(rows, columns) numbers in (0, 1): one in each of ``rows`` equal strata of every column, in random order.

        Each number alone is uniform; together they fill the interval more evenly than independent ones, so shares and
        quantiles of what is made from them come closer to the model's (stratified sampling, Owen 2013, "Monte Carlo
        theory, methods and examples", section 8.4).
        """

        def make(n: int) -> Tensor:
            where = self._source.device
            stratum = torch.rand(n, columns, generator=self._source, device=where).argsort(0)
            within = torch.rand(n, columns, generator=self._source, device=where, dtype=torch.float64).clamp_min(2**-30)
            return ((stratum + within) / n).clamp_max(1 - 2**-24).float()  # float32 would round the last ones up to 1

        return self._keep(rows, make)

    def kept(self, rows: int, columns: int, dropped: float) -> Tensor:
        """(rows, columns) booleans, False with probability ``dropped`` in 256ths: a byte of noise each, not a float."""
        words = -(-columns // 8)

        def make(n: int) -> Tensor:
            noise = torch.empty(n, words, dtype=torch.int64, device=self._source.device)
            noise.random_(-(2**63), None, generator=self._source)
            return noise.view(torch.uint8)[:, :columns] >= round(dropped * 256)

        return self._keep(rows, make)

    def permutation(self, n: int) -> Tensor:
        """A permutation of 0 … n−1, the same for all parts of a batch."""
        return torch.randperm(n, generator=self._source, device=self._source.device)

    def orders(self, rows: int, n: int) -> Tensor:
        """(rows, n), for each row a permutation of 0 … n−1, drawn by itself from ORDERS that are the same for all draws.

        Rows that had one in common would depend on each other, as far as a model's conditionals contradict each other; and
        each distinct one costs a step of its own.
        """
        return _orders(n).to(self._device)[(self.uniform(rows, 1)[:, 0] * ORDERS).long()]


@lru_cache(64)
def _orders(n: int) -> Tensor:
    """(ORDERS, n) those that are the same for all draws."""
    return torch.stack([Draw("order", k, n).permutation(n) for k in range(ORDERS)])


class Joint(Draw):
    """Draws side by side, each for as many rows: what a row gets depends on its own draw alone, and not on who stands
    beside it."""

    def __init__(self, draws: Sequence[Draw]) -> None:
        self._draws = draws

    def normal(self, rows: int, columns: int) -> Tensor:
        return self._beside(rows, lambda draw, n: draw.normal(n, columns))

    def uniform(self, rows: int, columns: int) -> Tensor:
        return self._beside(rows, lambda draw, n: draw.uniform(n, columns))

    def stratified(self, rows: int, columns: int) -> Tensor:
        """Strata are those of each draw's rows."""
        return self._beside(rows, lambda draw, n: draw.stratified(n, columns))

    def orders(self, rows: int, n: int) -> Tensor:
        """That of each draw for its rows."""
        return self._beside(rows, lambda draw, count: draw.orders(count, n))

    def _beside(self, rows: int, make: Callable[[Draw, int], Tensor]) -> Tensor:
        each, rest = divmod(rows, len(self._draws))
        assert not rest, "every draw has as many rows"
        return torch.cat([make(draw, each) for draw in self._draws])


class Generator(nn.Module):
    """A neural model that draws encoded rows.

    Training asks for losses one at a time and steps the player that owns each before asking for the next, so one loop
    trains diffusion models, GANs and VAEs; engines, precision, sharding and accumulation belong to the loop.
    """

    judges: ClassVar[tuple[str, ...]] = ()
    """The players that only judge the others. Nothing is sampled from them, so a release is without them, and what they
    say against the others moves with them: where there are any, a lower loss is no better model."""

    def __init__(self) -> None:
        super().__init__()
        # What has learnt to draw its rows in less time, once something has (``synth.training.distil``).
        self.student: Student | None = None

    @property
    def joins(self) -> bool:
        """Whether rows of which nothing is asked may be drawn beside those of another draw (``Joint``): each row is computed
        by itself, whatever the number of rows."""
        return False

    @property
    def players(self) -> Mapping[str, nn.Module]:
        """The separately stepped networks by name: one for a diffusion model, two for a GAN."""
        raise TypeError(f"{type(self).__name__} names no players")

    def losses(self, call: Call, batch: Encoded, draw: Draw, step: int) -> Iterator[tuple[str, Tensor]]:
        """Yield (player, scalar loss) in step order. ``call[name](…)`` runs a player as the trainer wrapped it, so that
        its gradients are this step's; a player that only judges in another's loss is called itself, frozen. ``step``
        (from 0) is the optimizer step, for what changes on the way."""
        raise TypeError(f"{type(self).__name__} defines no losses")

    def remarks(self, batch: Encoded) -> list[str]:
        """Sentences on the model's state as these encoded rows show it, for the notes of a run: the same for the same
        weights and rows. None unless a family has something to say."""
        return []

    def sample(self, rows: int, draw: Draw, given: Given | None = None) -> Encoded:
        """Draw ``rows`` encoded rows: cells (rows, C) int64 and values (rows, V) of the layout's dtype. ``draw`` is the
        only noise. Each row is as ``given`` asks, whose tensors lie on the generator's device."""
        raise TypeError(f"{type(self).__name__} cannot sample")

    def log_chances(self, draw: Draw, given: Given) -> Tensor:
        """(rows of ``given``) logs of independent positive numbers, each of which is on average the probability that a
        row turns out as its row of ``given`` asks."""
        raise TypeError(f"{type(self).__name__} cannot say how rare a condition is")
