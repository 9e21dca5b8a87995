"""Which synthetic rows are learnt from: those that judges of real rows let pass, and those that say most.

Where a generator errs, a judge that has seen real rows alone can tell, and learning from what passes does not collapse as
soon (Feng et al. 2024, "Beyond Model Collapse: Scaling Up with Synthesized Data Requires Verification", arXiv 2406.07515). In
the long run generations come to what their judge knows, and no further (Yi et al. 2025, arXiv 2510.16657): so there are
several, each of another kind and with other real rows, a synthetic row meets one of them at random, and of each class the same
share passes, however sure a judge is of it, so that none dies out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from synth.data.schema import Schema
from synth.errors import UserError
from synth.evaluation import features
from synth.evaluation.frame import MAX_CELLS, Frame, Lens
from synth.evaluation.learners import LEARNERS, fitted
from synth.evaluation.neighbours import nearest

SEEN = 2 / 3  # of the real rows, those that a judge has learnt from
QUANTILES = 10  # of a target that is a number, in place of classes
AT_ONCE = 100_000  # rows that are looked at together
BLOCK = 2_048  # rows among which the farthest are looked for
ANCHORS, FAR = 2_000, 0.99  # real rows that rows are to be near, and the share of real rows that are as near to another

Mask = NDArray[np.bool_]


def verified(schema: Schema, real: pa.Table, made: pa.Table, share: float, rng: np.random.Generator) -> Mask:
    """(rows,) which of the synthetic rows ``made`` pass: of each class and each judge, the ``share`` that it finds likeliest.

    A judge that has learnt the target goes by the likelihood of a row's own given all else; where there is none, by how easily
    the row is isolated from real ones (Liu et al. 2008, "Isolation Forest"), as all rows that miss their target are. A class
    that no real row has does not pass. UserError where nothing but the target can be compared.
    """
    lens = _lens(schema, real, made)
    ours = lens.view(real, "the real rows", rng)[0]
    parts = [_verified(lens, ours, theirs, share, rng) for theirs in _views(lens, made, rng)]
    return np.concatenate([np.zeros(0, bool), *parts])


def _verified(lens: Lens, ours: Frame, theirs: Frame, share: float, rng: np.random.Generator) -> Mask:
    judge = rng.permutation(len(theirs)) % len(LEARNERS)
    score, seed = np.empty(len(theirs)), int(rng.integers(2**31))
    for k, learner in enumerate(LEARNERS):
        met = np.flatnonzero(judge == k)
        if len(met):
            score[met] = _likelihood(lens, learner, _seen(lens, ours, rng), theirs.take(met), seed)
    passed = np.zeros(len(theirs), bool)
    for group in _groups(lens, ours, theirs):
        for k in range(len(LEARNERS)):
            mine = group[(judge[group] == k) & np.isfinite(score[group])]
            best = mine[np.argsort(-score[mine], kind="stable")]
            passed[best[: math.ceil(share * len(mine))]] = True
    return passed


def spread(schema: Schema, real: pa.Table, made: pa.Table, share: float, rng: np.random.Generator) -> Mask:
    """(rows,) a ``share`` of the synthetic rows ``made`` that lie far from each other, class by class: what they say is as much
    as so many rows can say, where chance would take the same twice.

    Of a set of points, the entropy grows with the distances between neighbours (Kozachenko and Leonenko 1987), and a set that
    is chosen greedily for them generalises for longer (Shi et al. 2025, "A Closer Look at Model Collapse", arXiv 2509.16499);
    the farthest from those that were chosen comes next (Gonzalez 1985), in blocks of BLOCK. Rows that are farther from all real
    ones than these are from each other are noise, and would be the first to be chosen: they come last.
    """
    lens = _lens(schema, real, made)
    ours = lens.view(real, "the real rows", rng)[0]
    parts = [_spread(lens, ours, theirs, share, rng) for theirs in _views(lens, made, rng)]
    return np.concatenate([np.zeros(0, bool), *parts])


def _spread(lens: Lens, ours: Frame, theirs: Frame, share: float, rng: np.random.Generator) -> Mask:
    points, anchors = features.mixed(lens, theirs), features.mixed(lens, ours.draw(ANCHORS, rng))
    near = np.quantile(nearest(anchors, anchors, 2)[:, 1], FAR)
    inside = nearest(points, anchors, 1)[:, 0] <= near
    chosen = np.zeros(len(points), bool)
    for group in _groups(lens, ours, theirs):
        wanted = math.ceil(share * len(group))
        good, noise = (rng.permutation(group[mask]) for mask in (inside[group], ~inside[group]))
        blocks = np.array_split(good, max(1, round(len(good) / BLOCK)))
        each = np.diff(np.floor(np.linspace(0, min(wanted, len(good)), len(blocks) + 1)).astype(int))
        for block, count in zip(blocks, each, strict=True):
            chosen[block[_farthest(points[block], count)]] = True
        chosen[noise[: max(0, wanted - len(good))]] = True
    return chosen


def _lens(schema: Schema, real: pa.Table, made: pa.Table) -> Lens:
    """Of both, so that a class that no real row has is one, and a gap another."""
    return Lens.fit(schema, {"the real rows": real, "the synthetic rows": made})


def _views(lens: Lens, made: pa.Table, rng: np.random.Generator) -> Iterator[Frame]:
    """Of all rows, as many at a time as memory has room for."""
    step = features.encodable(lens, min(AT_ONCE, MAX_CELLS // max(len(lens.names), 1)))
    for start in range(0, len(made), step):
        yield lens.view(made.slice(start, step), "the synthetic rows", rng)[0]


def _seen(lens: Lens, real: Frame, rng: np.random.Generator) -> Frame:
    """What a judge has learnt from: SEEN of the real rows, at least one of each class among them."""
    order = rng.permutation(len(real))
    chosen = order[: max(1, round(SEEN * len(real)))]
    if lens.schema.task == "classification":
        own = _targets(lens, real)
        chosen = np.union1d(chosen, order[np.unique(own[order], return_index=True)[1]])
    return real.take(np.sort(chosen))


def _likelihood(lens: Lens, learner: str, real: Frame, made: Frame, seed: int) -> NDArray[np.float64]:
    """(rows,) of ``made``; −inf for a class that no real row has."""
    target, task = lens.schema.target, lens.schema.task
    isolated = IsolationForest(random_state=seed).fit(features.coded(lens, real)[0])
    found: NDArray[np.float64] = isolated.score_samples(features.coded(lens, made)[0])
    if target is None or task is None or target not in lens.names:
        return found
    if len(lens.names) < 2:
        raise UserError(f"--verify: rows have no column beside {target!r} that judges could compare; leave it out")
    y, own = _targets(lens, real), _targets(lens, made)
    known, asked = _there(lens, y), _there(lens, own)
    if len(np.unique(y[known])) < 2 or not asked.any():
        return found
    (x, is_code), (at, _) = (features.coded(lens, frame, without=target) for frame in (real, made))
    if learner == "linear":
        x, at = (features.mixed(lens, frame, without=target) for frame in (real, made))
    model = fitted(learner, task, x[known], y[known], is_code, seed)
    if task == "regression":
        found[asked] = -((own[asked] - model.predict(at[asked])) ** 2)
        return found
    chances, classes = model.predict_proba(at[asked]), model.classes_
    place = np.searchsorted(classes, own[asked]).clip(max=len(classes) - 1)
    likely = np.log(chances[np.arange(len(place)), place].clip(1e-12))
    found[asked] = np.where(classes[place] == own[asked], likely, -np.inf)
    return found


def _there(lens: Lens, targets: NDArray[np.float64]) -> Mask:
    """Which rows have a target."""
    return targets != 0 if lens.schema.target in lens.code_names else np.isfinite(targets)


def _targets(lens: Lens, frame: Frame) -> NDArray[np.float64]:
    """Codes of classes, or numbers."""
    target = lens.schema.target
    assert target is not None
    if target in lens.code_names:
        return frame.codes[:, lens.code_names.index(target)].astype(np.float64)
    return frame.numbers[:, lens.number_names.index(target)]


def _groups(lens: Lens, real: Frame, made: Frame) -> list[NDArray[np.intp]]:
    """The rows of ``made`` by class, or by the quantile among ``real`` rows of a target that is a number."""
    target = lens.schema.target
    if target is None or target not in lens.names:
        return [np.arange(len(made))]
    found = _targets(lens, made)
    if lens.schema.task == "regression":
        edges = np.nanquantile(_targets(lens, real), np.linspace(0, 1, QUANTILES + 1)[1:-1])
        found = np.where(np.isfinite(found), np.searchsorted(edges, found), -1.0)
    return [np.flatnonzero(found == value) for value in np.unique(found)]


def _farthest(points: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """So many of them, each the farthest from those before it; the first is the first."""
    chosen = np.zeros(count, np.intp)
    apart = np.full(len(points), np.inf)
    for k in range(1, count):
        apart = np.minimum(apart, ((points - points[chosen[k - 1]]) ** 2).sum(axis=1))
        apart[chosen[k - 1]] = -1.0  # never again, when all that are left are twins of those
        chosen[k] = apart.argmax()
    return chosen
