"""PROV-JSON (W3C Member Submission of 2013) of an ancestry: releases and tables are entities, trainings and drawings the
activities between them, and the keys that signed them the agents."""

from __future__ import annotations

from typing import Any

from synth.provenance.formats import subject
from synth.provenance.formats.subject import URN, name_of
from synth.provenance.lineage import Node

_KINDS = ("release", "table", "unread", "training", "drawing", "key")


class _Document(dict[str, Any]):
    """Records by their kind and their name; of relations, which have none, by a number."""

    def add(self, kind: str, name: str, **attributes: Any) -> str:
        self.setdefault(kind, {}).setdefault(name, {}).update(attributes)
        return name

    def relate(self, kind: str, **ends: str) -> None:
        there = self.setdefault(kind, {})
        told = {f"prov:{name}": value for name, value in ends.items()}
        if told not in there.values():
            there[f"_:{kind}{len(there)}"] = told


def document(node: Node) -> dict[str, Any]:
    """The whole ancestry. Names are ``release:ID``, ``table:HASH``, and of activities those of what they made."""
    written = _Document(prefix={"artesian": URN} | {kind: f"{URN}{kind}:" for kind in _KINDS})
    for one in node.all():  # a table may be whole at one place, and altered at another
        _entity(written, one)
    for one in subject.each(node):
        if one.parents:
            _activity(written, one)
    return dict(written)


def _entity(written: _Document, node: Node) -> None:
    name = written.add("entity", name_of(node), **{"prov:label": subject.title(node), "prov:type": _type(node.kind)})
    facts = {f"artesian:{fact}": value for fact, value in subject.told(node).items()}
    if node.problems or node.gaps:
        facts["artesian:broken"] = [subject.shown(text) for text in (*node.problems, *node.gaps)]
    written.add("entity", name, **facts)
    if (key := _agent(written, node)) is not None:
        written.relate("wasAttributedTo", entity=name, agent=key)


def _agent(written: _Document, node: Node) -> str | None:
    print_ = subject.fingerprint(node)
    if print_ is None:
        return None
    return written.add("agent", f"key:{print_.partition(':')[2]}", **{"prov:label": print_})


def _activity(written: _Document, node: Node) -> None:
    entity = name_of(node)
    what = "training" if node.kind == "release" else "drawing"
    name = written.add("activity", f"{what}:{entity.partition(':')[2]}", **{"prov:type": _type(what)})
    if (found := subject.record(node)) is not None:
        # From the first step to the signature: the certificate is measured in between.
        times = {"prov:startTime": subject.began(found).isoformat(), "prov:endTime": found.created.isoformat()}
        written.add("activity", name, **times, **{"artesian:steps": found.training.steps})
    written.relate("wasGeneratedBy", entity=entity, activity=name)
    if (key := _agent(written, node)) is not None:
        written.relate("wasAssociatedWith", activity=name, agent=key)
    for parent in node.parents:
        role = str(parent.facts.get("role", "generator"))
        written.relate("used", activity=name, entity=name_of(parent), role=role)
        if role != "test":  # what a release was certified on, nothing in it comes from
            written.relate("wasDerivedFrom", generatedEntity=entity, usedEntity=name_of(parent), activity=name)


def _type(name: str) -> dict[str, str]:
    return {"$": f"artesian:{name}", "type": "prov:QUALIFIED_NAME"}
