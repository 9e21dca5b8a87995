"""Whether what is to be learnt from may be: its lineage is read, looked up, and held against a policy, before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from synth.data.source import Source
from synth.provenance import lineage, policy, recognition
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
    out of reach, test rows that one of them has learnt from, and rows given as real that are known to be drawn here;
    OriginError for an origin that was altered."""
    mixed = [name for name in sources if name.startswith(mixing.NAME)]
    counts = [sources[name].rows() for name in mixed]
    own, others = mixing.shares(sources["train"].rows(), counts, [g.weight for g in given], mix) if mixed else (1.0, [])
    inputs = [Input(sources["train"].location, lineage.claims(sources["train"]), True, own)]
    inputs += [
        Input(sources[name].location, lineage.claims(sources[name]), False, share)
        for name, share in zip(mixed, others, strict=True)
    ]
    policy.check(rules.policy, inputs)
    test = None
    if "test" in sources:
        test = sources["test"].fingerprint()
        if made := [claim for claim in lineage.claims(sources["test"]) if claim.depth]:
            raise PolicyError(
                f"{made[0].file}: {made[0]}, and nothing is certified on synthetic rows: give real ones by --test"
            )
    for name in ("train", "test") if rules.policy.unlabelled < 1 else ():  # a pass, where anything was ever drawn here
        if name in sources:
            policy.check_recognised(rules.policy, sources[name].location, recognition.recognise(sources[name]))
    notes = []
    for table in inputs:
        told = dict[tuple[str, int], str]()
        for claim in table.claims:
            if claim.origin is not None:
                told.setdefault((claim.origin.release, claim.depth), f"{claim.file}: {claim}")
        for (release, depth), what in told.items():
            notes.append(f"{what}{_ancestry(rules, release, depth, table.name, test)}")
    return notes


def _ancestry(rules: Rules, release: str, depth: int, table: str, test: str | None) -> str:
    place = lineage.find(release, [*rules.among, lineage.around(table)])
    if place is None:
        if not rules.missing:
            raise PolicyError(
                f"{table}: was drawn from the release {release[:12]}, which is not to be found beside it: {REMEDY}"
            )
        return "; that release was out of reach"
    node, altered = lineage.walk(place, rules.among), list[str]()
    if node.depth >= depth:
        raise PolicyError(
            f"{table}: says that its rows have depth {depth}, and the release that they were drawn from has {node.depth}; take "
            "rows that say what they are"
        )
    for one in node.all():
        if one.kind == "table" and not one.depth:  # real rows may have become others since: more, as a rule
            altered += [f"{one.name} {problem}" for problem in one.problems]
        elif problems := [*one.problems, *(one.strangers if rules.policy.signers != "any" else ())]:
            raise PolicyError(f"{table}: its ancestor {one.name}: {problems[0]}; restore it, or take other rows")
        if one.gaps and not rules.missing:
            raise PolicyError(f"{table}: of its ancestor {one.name}, {one.gaps[0]}: {REMEDY}")
        if test is not None and one.sha256 == test and _learnt(one):
            raise PolicyError(
                f"{table}: an ancestor has learnt from the test rows ({one.name}), so that nothing could be certified on them; "
                "give others by --test"
            )
    gaps = [gap for one in node.all() for gap in one.gaps]
    return "".join(f"; {text}" for text in [*gaps, *altered])


def _learnt(node: Node) -> bool:
    return node.kind == "table" and node.facts.get("role") == "train"
