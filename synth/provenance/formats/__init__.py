"""The ancestry of a table or of a release in the words of others: one file a format, and here their names.

All of them tell what ``lineage.walk`` has found, and of the release itself what its signed files say: names, hashes, counts,
columns and figures. None holds a row, a category or a bound of a column.
"""

from __future__ import annotations

import json

from synth.provenance.lineage import Node, as_json

NAMES = ("tree", "json", "croissant", "prov", "openlineage", "card")


def render(node: Node, format: str) -> str:
    """The text of a node and its ancestors in any of these formats but tree, which is drawn for a terminal."""
    # Each is imported where it is asked for: none needs what another one does.
    if format == "card":
        from synth.provenance.formats.card import card

        return card(node)
    return json.dumps(_plain(node, format), indent=1, allow_nan=False)


def _plain(node: Node, format: str) -> object:
    if format == "json":
        return as_json(node)
    if format == "croissant":
        from synth.provenance.formats.croissant import croissant

        return croissant(node)
    if format == "prov":
        from synth.provenance.formats.prov import document

        return document(node)
    assert format == "openlineage", format
    from synth.provenance.formats.openlineage import trainings

    return trainings(node)
