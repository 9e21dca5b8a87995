"""A release under watch: served rows come in, an alarm comes out, with what went missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.monitor.detectors import Alike, Kinds, Shadow
from serving.monitor.processes import Mixture
from serving.monitor.view import Rows, View

STEP = 32  # rows of a step of the tests, at most: those of a request are not kept back to fill one
PATIENCE = 1_000_000  # steps between false alarms, on average at least
WEIGHTS = {"classifier": 0.5, "kinds": 0.4, "alike": 0.1}
RECENT = 4_096  # rows by which is named what has changed
NAMED = 6  # kinds of rows
SURE = 4.0  # standard errors by which a share must differ to be named


@dataclass(frozen=True)
class Change:
    """A kind of rows, its share among recent rows and that which was certified."""

    kind: str
    share: float
    certified: float

    def __str__(self) -> str:
        return f"{self.kind}: {self.share:.2%} of the rows, certified {self.certified:.2%}"


@dataclass(frozen=True)
class Alarm:
    """Which detector was surest, after how many rows since watching began or began anew, and what has changed."""

    detector: str
    rows: int
    log_value: float
    changes: Sequence[Change] = field(default_factory=tuple)


class Watch:
    """The three detectors over the rows of one release, and their average.

    ``log_value`` is ln of the average e-value; an alarm comes when it reaches ln PATIENCE.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.shadow, self.kinds, self.alike = Shadow(view.width), Kinds(view), Alike(view, STEP)
        self.certified, self.rng = view.reference.kinds.mean(axis=0), np.random.default_rng(0)
        self.rows = 0
        self.recent = np.zeros(len(view.names))  # of which kinds rows were, the older the less
        self.weight = 0.0

    @property
    def _mixtures(self) -> dict[str, Mixture]:
        found = (self.shadow.mixture, self.kinds.mixture, self.alike.mixture)
        return dict(zip(WEIGHTS, found, strict=True))

    @property
    def log_values(self) -> dict[str, float]:
        """ln of each detector's e-value."""
        return {name: mixture.log_value for name, mixture in self._mixtures.items()}

    @property
    def log_value(self) -> float:
        return float(np.logaddexp.reduce(np.array(list(self.log_values.values())) + np.log(list(WEIGHTS.values()))))

    def look(self, served: Rows, fresh: NDArray[np.float32], *, plain: bool) -> Alarm | None:
        """At served rows, of which the first have a fresh row each, by its features, drawn under the same request; ``plain``
        says that nothing was asked of them, so that they are comparable with the certified ones."""
        for start in range(0, len(served), STEP):
            rows, others = served.take(slice(start, start + STEP)), fresh[start : start + STEP]
            self.shadow.update(rows.features[: len(others)], others)
            if plain:
                self.shadow.prepare(rows.features[len(others) :], self._certified(len(rows) - len(others)))
            comparable = rows if plain else rows.take(slice(0))
            self.kinds.update(comparable.kinds)
            self.alike.update(comparable.waves, comparable.keys)
            self.rows += len(rows)
            if plain:
                keep = (1 - 1 / RECENT) ** len(rows)
                self.recent = keep * self.recent + rows.kinds.sum(axis=0)
                self.weight = keep * self.weight + len(rows)
            if self.log_value >= np.log(PATIENCE):
                alarm = Alarm(self._surest(), self.rows, self.log_value, self.changes())
                self.reset()
                return alarm
        return None

    @property
    def odd(self) -> bool:
        """Whether some kind of rows is rarer or commoner than it was, as far as can be seen without fresh rows. No test: looked
        at so often, it errs now and then."""
        return bool((np.abs(self._apart()) >= SURE).any())

    def changes(self) -> list[Change]:
        """The kinds of rows whose share differs most surely from that which was certified; fewer of them first."""
        apart, share, certified = self._apart(), self.recent / max(self.weight, 1.0), self.certified
        order = np.argsort(np.where(apart < 0, apart, -apart / 1e3))
        return [
            Change(self.view.names[k], float(share[k]), float(certified[k])) for k in order if abs(apart[k]) >= SURE
        ][:NAMED]

    def _apart(self) -> NDArray[np.float64]:
        """By how many standard errors, of the recent rows and of the reference, each kind's share is more than certified."""
        share, certified = self.recent / max(self.weight, 1.0), self.certified
        sizes = 1 / max(self.weight, 1.0) + 1 / len(self.view.reference)
        both = np.clip((share + certified) / 2, 1e-6, 1 - 1e-6)
        return np.asarray((share - certified) / np.sqrt(both * (1 - both) * sizes))

    def _certified(self, rows: int) -> NDArray[np.float32]:
        """Features of rows of the certificate, as they come."""
        features = self.view.reference.features
        return features[self.rng.integers(0, len(features), rows)]

    def state(self) -> dict[str, NDArray[Any]]:
        """What a restart goes on from; the rows that the classifier would learn from again are not kept."""
        mixtures = {name: mixture.logs for name, mixture in self._mixtures.items()}
        learnt = {"weights": self.shadow.classifier.weights, "squares": self.shadow.classifier.squares}
        seen = {"recent": self.recent, "counts": np.array([self.rows, self.weight])}
        return mixtures | learnt | seen

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Go on from what ``state`` gave. ValueError where it is of another view or version."""
        mine = self.state()
        if {n: a.shape for n, a in mine.items()} != {n: a.shape for n, a in state.items()}:
            raise ValueError("the state is of another release or version of the monitor")
        for name, array in state.items():
            mine[name][:] = array
        self.rows, self.weight = int(state["counts"][0]), float(state["counts"][1])

    def reset(self) -> None:
        """Watch anew, as after an alarm."""
        for mixture in self._mixtures.values():
            mixture.reset()
        self.rows, self.weight = 0, 0.0
        self.recent[:] = 0

    def _surest(self) -> str:
        values = self.log_values
        return max(values, key=lambda name: values[name] + np.log(WEIGHTS[name]))
