"""Whether what is to be learnt from may be: its lineage is read, looked up, and held against a policy, before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synth.data.source import Source
from synth.provenance import lineage, policy
from synth.provenance.lineage import Node
from synth.provenance.policy import Input, Policy, PolicyError
from synth.training import mixing
from synth.training.mixing import Given, Mix

REMEDY = "name a folder that holds it by --ancestors, or have the gap recorded by --allow-missing-parent"


@dataclass(frozen=True)
class Rules:
    """The ``policy``, the folders ``among`` which ancestors are looked for, and whether one may be missing, on record."""

    policy: Policy
    among: Sequence[str] = ()
    missing: bool = False

    @classmethod
    def read(cls, place: str | None = None, among: Sequence[str] = (), *, missing: bool = False) -> Rules:
        """With the policy at ``place``, see ``Policy.read``."""
        return cls(Policy.read(place), tuple(among), missing)


def check(rules: Rules, sources: Mapping[str, Source], given: Sequence[Given] = (), mix: Mix = "golden") -> list[str]:
    """What is to be told of the tables' lineage. PolicyError for what the policy does not allow, an ancestor that is altered or
    out of reach, and test rows that one of them has learnt from; OriginError for an origin that was altered."""
    made = [name for name in sources if name.startswith(mixing.NAME)]
    counts = [sources[name].rows() for name in made]
    own, others = mixing.shares(sources["train"].rows(), counts, [g.weight for g in given], mix) if made else (1.0, [])
    inputs = [Input(sources["train"].location, lineage.claims(sources["train"]), True, own)]
    inputs += [
        Input(sources[name].location, lineage.claims(sources[name]), False, share)
        for name, share in zip(made, others, strict=True)
    ]
    policy.check(rules.policy, inputs)
    test = sources["test"].fingerprint() if "test" in sources else None
    notes = []
    for table in inputs:
        told = dict[str, str]()
        for claim in table.claims:
            if claim.origin is not None:
                told.setdefault(claim.origin.release, f"{claim.file}: {claim}")
        for release, what in told.items():
            notes.append(f"{what}{_ancestry(rules, release, table.name, test)}")
    return notes


def _ancestry(rules: Rules, release: str, table: str, test: str | None) -> str:
    place = lineage.find(release, [*rules.among, lineage.around(table)])
    if place is None:
        if not rules.missing:
            raise PolicyError(
                f"{table}: was drawn from the release {release[:12]}, which is not to be found beside it: {REMEDY}"
            )
        return "; that release was out of reach"
    node = lineage.walk(place, rules.among)
    for one in node.all():
        if problems := [*one.problems, *(one.strangers if rules.policy.signers != "any" else ())]:
            raise PolicyError(f"{table}: its ancestor {one.name}: {problems[0]}; restore it, or take other rows")
        if one.gaps and not rules.missing:
            raise PolicyError(f"{table}: of its ancestor {one.name}, {one.gaps[0]}: {REMEDY}")
        if test is not None and one.sha256 == test and _learnt(one):
            raise PolicyError(
                f"{table}: an ancestor has learnt from the test rows ({one.name}), so that nothing could be certified on them; "
                "give others by --test"
            )
    gaps = [gap for one in node.all() for gap in one.gaps]
    return f"; {'; '.join(gaps)}" if gaps else ""


def _learnt(node: Node) -> bool:
    return node.kind == "table" and node.facts.get("role") == "train"
