"""Cures by their names, and models that are files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any
from zipfile import BadZipFile

from cluster import storage
from synth.data.schema import nearest
from synth.errors import UserError
from synth.training.refining.discriminator import Discriminator
from synth.training.refining.feedback import Feedback
from synth.training.refining.gradients import Gradients
from synth.training.refining.ground import Cure
from synth.training.refining.neon import Neon
from synth.training.refining.sims import Sims

NAMES = ("discriminator", "neon", "sims", "gradients", "feedback")
TRAIN = "train"
MOST = 1 << 30  # bytes of a model that is a file


def cure(by: str | None, feedback: Any, criteria: Sequence[str]) -> Cure:
    """The cure ``by`` this name; ``feedback``, which means the cure of that name, is TRAIN, a path or an estimator. UserError
    for a name that there is none of, for words that belong to another cure, and for a file that is no model."""
    if by is not None and by not in NAMES:
        raise UserError(f"--by {by!r} is unknown; cures: {', '.join(NAMES)}.{nearest(by, NAMES)}")
    if by not in (None, "feedback") and (feedback is not None or (criteria and by != "gradients")):
        raise UserError(f"--feedback and --criterion do not go with --by {by}: leave them out, or say --by feedback")
    if by == "gradients":
        return Gradients(criteria) if criteria else Gradients()
    if by in ("neon", "sims"):
        return Neon() if by == "neon" else Sims()
    if (by is None and feedback is None and not criteria) or by == "discriminator":
        return Discriminator()
    if isinstance(feedback, os.PathLike):
        feedback = os.fspath(feedback)
    if isinstance(feedback, str):
        feedback = None if feedback == TRAIN else _model(feedback)
    return Feedback(feedback, criteria) if criteria else Feedback(feedback)


def _model(place: str) -> Any:
    """The estimator in a skops file, which holds no code: types that are not scikit-learn's own are refused."""
    try:
        from skops.io import get_untrusted_types, loads
    except ModuleNotFoundError as e:
        raise UserError(
            f"--feedback {place}: reading a model takes the package skops: pip install 'artesian[skops]'"
        ) from e
    name = storage.without_credentials(place)
    filesystem, path = storage.resolve(place)
    size = filesystem.get_file_info(path).size if storage.is_file(place) else None
    if size is not None and size > MOST:
        raise UserError(f"--feedback {name}: has {size:,} bytes, and a model {MOST:,} at most")
    if size is None:
        raise UserError(
            f"--feedback {name}: there is no such file; give a model that was written by skops.io.dump, or {TRAIN}"
        )
    content = storage.read_bytes(place)
    try:
        strange, found = get_untrusted_types(data=content), None
        if not strange:
            found = loads(content)
    except (BadZipFile, ValueError, KeyError, TypeError) as e:
        raise UserError(f"--feedback {name}: is no model that skops reads ({e}); write it by skops.io.dump") from e
    if strange:
        told = ", ".join(sorted(strange)[:10])
        raise UserError(f"--feedback {name}: holds types that are not scikit-learn's own: {told}")
    return found
