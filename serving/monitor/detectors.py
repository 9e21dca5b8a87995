"""Three ways to see that rows are no longer those that were certified, each a mixture of sequential tests.

None of them looks at a row before it has placed its bet, and each bets against a statement that holds while all is well:
that a classifier which has learnt from earlier rows alone prefers neither served rows nor fresh ones, that no kind of rows
has become rarer than three quarters of its share, and that rows resemble each other no more than certified ones do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from serving.monitor.processes import Mixture, even, fewer, more
from serving.monitor.view import SEEN, View

BETS = np.array([0.1, 0.25, 0.5, 0.9])
TOLERATED = 0.75  # of a kind's share: what remains of it may be less by chance of the training, not by collapse
DOUBT = (
    1e-3  # the chance, when a release comes under watch, that any of the shares that are bet against is overestimated
)
TAIL = 0.5  # weight of the rows that lie apart, against all other kinds together
CLOSER = 1.1  # by how much more rows may resemble each other

REMEMBERED = 4_096  # rows of each side that the classifier learns from again
AT_ONCE = 128  # rows of each side at a step
AGAIN, PREPARING = 3, 1  # further steps at each look, from remembered rows: with fresh rows, and without
RATE, DECAY = 0.1, 1e-4


class Classifier:
    """Tells served rows from fresh ones of the certified release, by features; learns from pairs as they come.

    Logistic regression with AdaGrad (Duchi et al. 2011): features that are rare keep large steps.
    """

    def __init__(self, width: int) -> None:
        self.weights, self.squares = np.zeros(width, np.float32), np.full(width, 1e-3, np.float32)
        self.kept = np.empty((2, REMEMBERED, width), np.float32)  # served and fresh rows, the oldest overwritten
        self.learnt = 0  # pairs
        self.rng = np.random.default_rng(0)

    def chance(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """That a row (n, d) is a served one, float64 (n,)."""
        return np.asarray(1 / (1 + np.exp(-np.clip(rows @ self.weights, -30, 30))), np.float64)

    def learn(self, served: NDArray[np.float32], fresh: NDArray[np.float32], again: int) -> None:
        """As many served rows as fresh ones, at least one, and so many steps from remembered ones."""
        at = np.arange(self.learnt, self.learnt + len(served)) % REMEMBERED
        self.kept[0, at], self.kept[1, at] = served, fresh
        self.learnt += len(served)
        self._step(served, fresh)
        for _ in range(again):
            self._step(*(side[self.rng.integers(0, min(self.learnt, REMEMBERED), AT_ONCE)] for side in self.kept))

    def _step(self, served: NDArray[np.float32], fresh: NDArray[np.float32]) -> None:
        slope = fresh.T @ self.chance(fresh) / len(fresh) - served.T @ (1 - self.chance(served)) / len(served)
        slope = (slope + DECAY * self.weights).astype(np.float32)
        self.squares += slope**2
        self.weights -= RATE * slope / np.sqrt(self.squares)


class Shadow:
    """Served rows against fresh ones of the certified release under the same request.

    While all is well the two of a pair are exchangeable, so that the payoff 2 (g(x) − g(z)) of any classifier g that has
    seen neither has expectation 0 (Podkopaev and Ramdas 2023, "Sequential predictive two-sample and independence testing",
    arXiv 2305.00143). It grows as fast as g learns to tell them apart, whatever it is that has changed.

    It takes rows that do not depend on each other. Those of a block are drawn a little more evenly than that: what comes
    after the rows that g has learnt from is a little less like them, and the bet loses by it.
    """

    def __init__(self, width: int) -> None:
        self.classifier = Classifier(width)
        self.mixture = Mixture(np.full(len(BETS), 1 / len(BETS)))

    def update(self, served: NDArray[np.float32], fresh: NDArray[np.float32]) -> None:
        """One step with so many pairs; without any there is nothing to bet on, and it is none."""
        if not len(served):
            return
        payoffs = np.clip(2 * (self.classifier.chance(served) - self.classifier.chance(fresh)), -1, 1)
        self.mixture.update(even(payoffs, BETS))
        self.classifier.learn(served, fresh, AGAIN)

    def prepare(self, served: NDArray[np.float32], certified: NDArray[np.float32]) -> None:
        """Learn from served rows that have no fresh ones, against as many of the certificate's. Those come again and again and
        are learnt by heart, which is no harm: what is bet on are fresh rows alone."""
        if len(served):
            self.classifier.learn(served, certified, PREPARING)


class Kinds:
    """Kinds of rows that must not become rarer: cells of similar rows, categories, ranges, and the rows that lie apart.

    Against each is bet that its share is still TOLERATED times what it certainly was; a half of the weight is that of the
    rows that lie apart, since a tail is what collapse takes first.
    """

    def __init__(self, view: View) -> None:
        hits, rows = view.reference.kinds.sum(axis=0), len(view.reference)
        self.counted = np.flatnonzero((hits >= SEEN) & (hits < rows))
        hits = hits[self.counted]
        self.share = hits / rows
        self.least = TOLERATED * beta.ppf(DOUBT / len(hits), hits, rows - hits + 1)  # Clopper-Pearson
        weights = np.full(len(hits), (1 - TAIL) / max(len(hits) - 1, 1))
        weights[0] = TAIL if self.counted[0] == 0 else weights[0]
        weights = np.tile(weights / weights.sum() / len(BETS), len(BETS))
        self.mixture = Mixture(weights)

    def update(self, kinds: NDArray[np.bool_]) -> None:
        """One step with rows of these kinds (n, K); without any it is none."""
        if not len(kinds):
            return
        hits = kinds[:, self.counted].sum(axis=0)
        self.mixture.update(fewer(hits, len(kinds), self.least, BETS).ravel())

    @property
    def blamed(self) -> NDArray[np.float64]:
        """What each counted kind contributes to the evidence, float64, summing to 1."""
        return np.asarray(self.mixture.shares.reshape(len(BETS), -1).sum(axis=0))


class Alike:
    """Rows that resemble each other more than those of the certificate, or are equal: the coarsest kind of collapse.

    Of the rows of a step, the mean of k(x, y)² over pairs, whose inverse is the Rényi kernel entropy's number of modes
    (Jalali et al. 2023, arXiv 2305.18900), and the share of pairs that are equal.
    """

    def __init__(self, view: View, step: int) -> None:
        blocks = [slice(k, k + step) for k in range(0, len(view.reference) - step + 1, step)]
        found = np.array([alike(view.reference.waves[block], view.reference.keys[block]) for block in blocks])
        # An upper bound of both means, for all but a share DOUBT of the releases; the last term is what remains where no pair
        # of so many steps was equal (the "rule of three", for DOUBT instead of 5 %).
        unseen = 2 * np.log(1 / DOUBT) / (len(found) * step * (step - 1))
        above = found.mean(axis=0) + 4 * found.std(axis=0) / np.sqrt(len(found)) + unseen
        self.most = CLOSER * np.minimum(above, 1.0)
        self.step = step
        self.mixture = Mixture(np.full(2 * len(BETS), 1 / (2 * len(BETS))))

    def update(self, waves: NDArray[np.float32], keys: NDArray[np.uint64]) -> None:
        """One step with these rows; of fewer than two there are no pairs, and it is none."""
        if len(keys) < 2:
            return
        means = alike(waves, keys)
        self.mixture.update(np.concatenate([more(m, most, BETS) for m, most in zip(means, self.most, strict=True)]))


def alike(waves: NDArray[np.float32], keys: NDArray[np.uint64]) -> tuple[float, float]:
    """Over the pairs of rows, at least two: the mean squared kernel, and the share that are equal; both in [0, 1]."""
    pairs = len(keys) * (len(keys) - 1)
    kernel = np.clip(waves @ waves.T, 0, 1) ** 2
    times = np.unique(keys, return_counts=True)[1]
    return float(kernel.sum() - np.trace(kernel)) / pairs, float((times * (times - 1)).sum()) / pairs
