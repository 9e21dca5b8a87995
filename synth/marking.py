"""The watermark of a release: the one that is kept here or, the first time, one made for the rows that the release draws."""

from __future__ import annotations

from synth.provenance import marks
from synth.provenance.watermark import LOOKED_AT, Mark
from synth.release import Release
from synth.sampling import Sampler


def mark_of(release: Release) -> Mark:
    """This user's, kept from now on. UserError where the release can have none, see ``Mark.of``, or it cannot be kept."""
    mark = marks.of(release.manifest.id)
    if mark is None:
        rows = release.reference
        if rows is None and release.schema.image is None:  # of images there is nothing to look at
            rows = Sampler.from_release(release).table(LOOKED_AT)
        mark = Mark.of(release.manifest, release.schema, rows)
        marks.keep(mark)
    return mark
