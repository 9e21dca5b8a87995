"""Whether what is to be learnt from may be: its lineage is read, looked up, and held against a policy, before any training."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from synth.data.source import Source
from synth.provenance import lineage, places, policy, recognition
from synth.provenance.lineage import Node, Parting
from synth.provenance.policy import Input, Policy, PolicyError
from synth.training import mixing
from synth.training.mixing import Given, Mix
from synth.training.prepare import Prepared

REMEDY = "name a folder that holds it by --ancestors, or have the gap recorded by --allow-missing-parent"


@dataclass(frozen=True)
class Rules:
    """The ``policy``, the folders ``among`` which ancestors are looked for, whether one may be missing, on record, and whether
    synthetic tables can be ``mixed`` with the real one, as in a training and in no study."""

    policy: Policy
    among: Sequence[str] = ()
    missing: bool = False
    mixed: bool = True

    @classmethod
    def read(
        cls, place: str | None = None, among: Sequence[str] = (), *, missing: bool = False, mixed: bool = True
    ) -> Rules:
        """With the policy at ``place``, see ``Policy.read``."""
        return cls(Policy.read(place), tuple(among), missing, mixed)


@dataclass(frozen=True)
class Real:
    """The hashes of the real tables of a training, of the rows to learn from and of the test rows if these have their own, and
    how the first of them is split, if that is known."""

    train: str
    test: str | None
    parting: Parting | None


def check(
    rules: Rules, sources: Mapping[str, Source], given: Sequence[Given] = (), mix: Mix = "golden",
    parting: Parting | None = None,
) -> list[str]:  # fmt: skip
    """What is to be told of the tables' lineage. PolicyError for what the policy does not allow, an ancestor that is altered or
    out of reach, test rows that one of them has learnt from, be it from the same table in another ``parting``, and rows given
    as real that are known to be drawn here; OriginError for an origin that was altered."""
    mixed = [name for name in sources if name.startswith(mixing.NAME)]
    counts = [sources[name].rows() for name in mixed]
    own, others = mixing.shares(sources["train"].rows(), counts, [g.weight for g in given], mix) if mixed else (1.0, [])
    inputs = [Input(sources["train"].location, lineage.claims(sources["train"]), True, own)]
    inputs += [
        Input(sources[name].location, lineage.claims(sources[name]), False, share)
        for name, share in zip(mixed, others, strict=True)
    ]
    policy.check(rules.policy, inputs, mixed=rules.mixed)
    if "test" in sources and (made := [claim for claim in lineage.claims(sources["test"]) if claim.depth]):
        raise PolicyError(
            f"{made[0].file}: {made[0]}, and nothing is certified on synthetic rows: give real ones by --test{made[0].doubt}"
        )
    unsaid = list[str]()
    for name in ("train", "test") if rules.policy.unlabelled < 1 else ():  # a pass, where anything was ever drawn here
        # What says that it is synthetic was not given as real rows: the rules above hold for it.
        if name in sources and any(claim.origin is None for claim in lineage.claims(sources[name])):
            found, place = recognition.recognise(sources[name]), sources[name].location
            policy.check_recognised(rules.policy, place, found, mixed=rules.mixed and name == "train")
            unsaid += found.notes
    test = sources["test"].fingerprint() if "test" in sources else None
    real, notes = Real(sources["train"].fingerprint(), test, parting), unsaid
    hashes = [source.fingerprint() for source in sources.values()]
    for table in inputs:
        told = dict[tuple[str, int], str]()
        for claim in table.claims:
            if not claim.looked_up:
                notes.append(f"{claim.file}: {claim}")
            if claim.excess is not None:
                raise PolicyError(f"{claim.file}: {claim.excess}")
            if claim.origin is not None:
                fewer = "" if claim.subset is None else f"; here are {claim.subset}{claim.doubt}"
                told.setdefault((claim.origin.release, claim.depth), f"{claim.file}: {claim}{fewer}")
        for (release, depth), what in told.items():
            notes.append(f"{what}{_ancestry(rules, release, depth, table.name, real, hashes)}")
    return notes


def check_prepared(rules: Rules, table: Prepared) -> None:
    """PolicyError for what the policy does not allow of the rows that the split leaves to learn from."""
    name = table.sources["train"].location
    policy.check_rows(rules.policy, name, table.keys.blocks())
    policy.check_share(rules.policy, name, real_share(table))


def real_share(table: Prepared) -> float:
    """The share of real rows in what is learnt from."""
    drawn = any(claim.depth for claim in lineage.claims(table.sources["train"]))
    return 0.0 if drawn else 1 - sum(share for share, _ in table.mixed)


def _ancestry(rules: Rules, release: str, depth: int, table: str, real: Real, inputs: Collection[str]) -> str:
    place = places.find(release, rules.among, places.around(table))
    if place is None:
        if not rules.missing:
            raise PolicyError(
                f"{table}: was drawn from the release {release[:12]}, which is not to be found beside it: {REMEDY}"
            )
        return "; that release was out of reach"
    node, altered = lineage.walk(place, rules.among, inputs), list[str]()
    if node.depth >= depth:
        raise PolicyError(
            f"{table}: says that its rows have depth {depth}, and the release that they were drawn from has {node.depth}; take "
            "rows that say what they are"
        )
    for one in node.all():
        if one.kind == "table" and one.where is None:
            altered += [f"{one.name} {note}" for note in one.notes]
        elif one.kind == "table" and not one.depth:  # real rows may have become others since: more, as a rule
            altered += [f"{one.name} {problem}" for problem in one.problems]
        elif one.problems:
            raise PolicyError(f"{table}: its ancestor {one.name}: {one.problems[0]}; restore it, or take other rows")
        _check_signers(rules.policy, one, table)
        if one.gaps and not rules.missing:
            raise PolicyError(f"{table}: of its ancestor {one.name}, {one.gaps[0]}: {REMEDY}")
        altered += _check_parting(one, real, table)
        if real.test is not None and one.sha256 == real.test and _learnt(one):
            raise PolicyError(
                f"{table}: an ancestor has learnt from the test rows ({one.name}), so that nothing could be certified on them; "
                "give others by --test"
            )
    gaps = [gap for one in node.all() for gap in one.gaps]
    return "".join(f"; {text}" for text in [*gaps, *altered])


def _check_signers(policy: Policy, node: Node, table: str) -> None:
    """PolicyError for an ancestor of the ``table`` whose signature is of another signer than the policy wants, as of rows."""
    if node.kind == "release" and node.where is not None and not policy.accepts(node.signer):
        raise PolicyError(
            f"{table}: its ancestor {node.name} is signed by {node.signer or 'nobody'}, {policy.signers_remedy()}"
        )
    for claim in node.claims if node.depth else ():
        if not policy.accepts(claim.signer):
            raise PolicyError(f"{table}: its ancestor {claim.file}: {claim}, {policy.signers_remedy()}")


def _check_parting(node: Node, real: Real, table: str) -> list[str]:
    """PolicyError where an ancestor of the ``table`` has learnt from the real table in another split, so that it may know rows
    that are held out now; where there are test rows beside that table, it is but to be told."""
    if real.parting is None or not any(one.sha256 == real.train and _learnt(one) for one in node.parents):
        return []
    now, then = real.parting, node.parting
    if then is not None and then.columns == now.columns and now.split.keeps_from(then.split):
        return []
    if then is None:
        how = "in a split that it does not tell"
    elif then.split == now.split:
        how = "in the same split of other columns"
    else:
        how = f"with --split {then.split} --seed {then.split.seed}"
    told = f"{node.name} has learnt from the same real rows {how}, and may know rows that are held out now"
    if real.test is not None:
        return [told]
    same = "" if then is None else f"--split {then.split} --seed {then.split.seed} and the same columns, or give "
    raise PolicyError(f"{table}: its ancestor {told}: give {same}real rows that it has not seen by --test")


def _learnt(node: Node) -> bool:
    return node.kind == "table" and node.facts.get("role") == "train"
