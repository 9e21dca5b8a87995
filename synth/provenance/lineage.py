"""Where rows and releases come from: what files say of themselves, and the ancestry that signatures and hashes hold together.

A release names the hashes of the tables that it learnt from, of those that are synthetic the releases that they were drawn
from, and these name theirs: a chain that can be walked offline. Every link is checked against what is there: files against
their manifest, a manifest against its signature, a table against the hash of it, its origin against its signature and against
what the release says that learnt from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from cluster import storage
from synth import release as releases
from synth.data.schema import Schema
from synth.data.source import Said, Source, open_source
from synth.data.split import Split
from synth.errors import UserError
from synth.provenance import keys
from synth.provenance.manifest import DataEntry
from synth.provenance.origin import PREFIX, Origin, OriginError
from synth.provenance.places import MANIFEST, around, find, table

_INNER = ("claims", "parting", "parents")  # of a node, which plain data do not show as they are
_ALTERED = "was altered since it was learnt from: its hash is another"


@dataclass(frozen=True)
class Claim:
    """What a file says of where its ``rows`` come from, and whose signature that is: nothing, of real rows and where that could
    not be ``looked_up``; ``beside`` is the file that says so for it, None where it does so itself."""

    file: str
    origin: Origin | None = None
    signer: keys.Signer | None = None
    rows: int | None = None
    looked_up: bool = True
    beside: str | None = None

    @property
    def depth(self) -> int:
        """Generation depth of the rows, as far as they say; 0 where they say nothing."""
        return 0 if self.origin is None else self.origin.depth

    @property
    def excess(self) -> str | None:
        """What is wrong with it where it has more rows than its origin tells of."""
        if self.origin is None or self.rows is None or self.rows <= self.origin.rows:
            return None
        return (
            f"has {self.rows:,} rows, and its origin tells of {self.origin.rows:,}: where the others come from nobody says. "
            f"Keep files apart as they were drawn{self.doubt}"
        )

    @property
    def subset(self) -> str | None:
        """What is to be told where it has fewer."""
        if self.origin is None or self.rows is None or self.rows >= self.origin.rows:
            return None
        return f"{self.rows:,} of the {self.origin.rows:,} rows that its origin tells of"

    @property
    def doubt(self) -> str:
        """What to do where rows were written over others and the file beside these is still there; empty where none is."""
        if self.origin is None or self.beside is None:
            return ""
        here = "rows" if self.rows is None else f"{self.rows:,} rows"
        return f". It is {self.beside} that says so of the {here} here: if these are other rows, remove it"

    def __str__(self) -> str:
        if not self.looked_up:
            return "whether it has an origin could not be looked up: that was not permitted"
        if self.origin is None:
            return "does not say where its rows come from"
        how = "filled by" if self.origin.asked and "filled" in self.origin.asked else "drawn from"
        drawn = f"{self.origin.rows:,} rows {how} '{self.origin.name}' ({self.origin.release[:12]})"
        return f"{drawn}, depth {self.origin.depth}, signed by {self.signer}"


def claims(source: Source) -> list[Claim]:
    """What each file of a source says. OriginError, which names the file, for what was altered since it was signed."""
    found = []
    for name, said, rows, beside in source.said() or [Said(source.location, {}, source.rows())]:
        if said is None:
            found.append(Claim(name, rows=rows, looked_up=False))
            continue
        if not any(key.lower().startswith(PREFIX.encode()) for key in said):
            found.append(Claim(name, rows=rows))
            continue
        try:
            found.append(Claim(name, *Origin.read(said), rows, beside=beside))
        except OriginError as e:
            raise OriginError(f"{name}: {e}") from e
    return found


class Parting(NamedTuple):
    """What decides which rows of a table are learnt from: its split, and the type of each column that is."""

    split: Split
    columns: Mapping[str, str]

    @classmethod
    def of(cls, split: Split, schema: Schema) -> Parting:
        return cls(split, {column.name: column.dtype for column in schema.learnt})


@dataclass
class Node:
    """A release or a table, and what it comes from. ``sha256`` is a release's id or a table's hash, ``signer`` who vouches for
    it, ``claims`` are what each file of a table says, ``parting`` is how a release has split its table, None where it does not
    say, ``where`` it was found, None of what was not; ``notes`` are what is to be told of it, ``problems`` what is wrong with
    it, ``strangers`` signers of it who are not known here, ``gaps`` what it comes from and is not to be found."""

    kind: Literal["release", "table"]
    name: str
    sha256: str | None
    depth: int
    real_fraction: float
    where: str | None = None
    signer: keys.Signer | None = None
    claims: list[Claim] = field(default_factory=list)
    parting: Parting | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    parents: list[Node] = field(default_factory=list)

    def all(self) -> Iterator[Node]:
        """This one and all that it comes from, each once."""
        seen, ahead = set[int](), [self]
        while ahead:
            node = ahead.pop()
            if id(node) not in seen:
                seen.add(id(node))
                yield node
                ahead += reversed(node.parents)


def walk(location: str, among: Sequence[str] = (), inputs: Collection[str] = ()) -> Node:
    """The ancestry of the release or of the table at ``location``; releases are looked for beside it and in the folders
    ``among``, and in what these hold. Where a table has become one of the ``inputs``, which are hashes, it is not here any
    more, as where rows that were drawn since have taken its place. UserError for what is neither."""
    steps = _Walk(among, around(location), inputs)
    if storage.exists(storage.join(location, MANIFEST)):
        return steps.release(location)
    source = open_source(location)
    try:
        found, problems = claims(source), list[str]()
    except OriginError as e:
        found, problems = [], [str(e)]
    depth = max((claim.depth for claim in found), default=0)
    node = Node("table", source.location, source.fingerprint(), depth, float(not depth), source.location)
    node.facts, node.problems = {"rows": source.rows()}, problems
    drawn = dict[str, list[Origin]]()
    for claim in found:
        _vouched(node, claim)
        if claim.origin is not None:
            drawn.setdefault(claim.origin.release, []).append(claim.origin)
    for id, origins in drawn.items():
        depths = sorted({origin.depth - 1 for origin in origins})
        node.parents.append(steps.parent(id, origins[0].name, node, depths))
    return node


class _Walk:
    """A walk in which each release and each of their tables is looked at once, however many have it for an ancestor; releases
    are looked for in the folders ``among`` and in the one that is ``near``; ``inputs`` are hashes of tables."""

    def __init__(self, among: Sequence[str], near: str, inputs: Collection[str]) -> None:
        self._among, self._near, self._inputs = among, near, inputs
        self._releases, self._tables = dict[str, Node](), dict[tuple[str, str], Node]()
        self._path = list[str]()  # from where the walk began to where it is

    def release(self, location: str) -> Node:
        found, schema, recipe = releases.described(location)
        record = found.manifest
        if record is None:
            node = Node("release", found.location, None, 0, 0.0, found.location)
            node.problems = [f"{name}: {problem}" for name, problem in found.problems.items()]
            return node
        node = Node("release", record.name, record.id, record.generation_depth, record.real_fraction, found.location)
        node.signer = found.signer
        node.problems = [f"{name}: {problem}" for name, problem in found.problems.items()]
        if found.signer is not None and found.signer.kind == "unknown":
            node.strangers.append(f"manifest.sig: is of {found.signer}")
        node.facts = {
            "created": record.created.isoformat(), "seed": record.seed, "packages": record.environment.packages,
        }  # fmt: skip
        if schema is not None:
            node.parting = _parting(schema, recipe)
        if record.id in self._path:
            node.problems.append("is an ancestor of itself")
            return node
        self._path.append(record.id)
        known = found.signer is not None and found.signer.kind != "unknown"
        drawn = {entry.sha256 for entry in record.data}
        for entry in record.data:
            node.parents.append(self._table(entry, around(location), known, record.created))
            drawn |= set(entry.releases)
        node.parents += [self.parent(id, None, node) for id in record.parents if id not in drawn]
        self._path.pop()
        self._releases[record.id] = node
        return node

    def _table(self, entry: DataEntry, near: str, known: bool, learnt: datetime) -> Node:
        """A table that a release in the folder ``near``, of a signer who is ``known`` or not, had ``learnt`` from at that
        time. It need not be there any more; what is there must be what it was, or say that it is another."""
        key = near, entry.model_dump_json()
        if key in self._tables:
            return self._tables[key]
        node = Node("table", entry.location, entry.sha256, entry.depth, float(entry.real))
        node.facts = {"rows": entry.rows, "role": entry.role}
        if (source := table(entry, [near, *self._among, self._near], known=known)) is not None:
            same = source.fingerprint() == entry.sha256
            try:
                found = claims(source)
            except UserError as e:
                node.where, node.problems = source.location, [str(e)] if same else [_ALTERED]
            else:
                if same:
                    node.where = source.location
                    for claim in found:
                        _vouched(node, claim)
                elif source.fingerprint() in self._inputs or _another(found, entry, learnt):
                    node.notes.append(f"is not here any more: at its place are {_told(source, found)}")
                else:
                    node.where, node.problems = source.location, [_ALTERED]
        for id in entry.releases:
            node.parents.append(self.parent(id, None, node, [entry.depth - 1]))
        self._tables[key] = node
        return node

    def parent(self, id: str, name: str | None, child: Node, depths: Sequence[int] = ()) -> Node:
        """A release that something was drawn from, or refined of; a gap where it is not to be found. ``depths`` are those that
        it can have at most, as the rows say that were drawn from it."""
        node = self._releases.get(id)
        if node is None:
            place = find(id, self._among, self._near)
            if place is None:
                child.gaps.append(f"release {id[:12]}{f' ({name!r})' if name else ''} is not to be found")
                return Node("release", name or id[:12], id, max(depths, default=0), 0.0)
            node = self.release(place)
        for depth in depths:
            problem = f"has depth {node.depth}, and what was drawn from it says {depth}"
            if node.depth > depth and problem not in node.problems:
                node.problems.append(problem)
        return node


def _another(found: Sequence[Claim], entry: DataEntry, learnt: datetime) -> bool:
    """Whether all files of a table say who drew them, and one of them that it cannot be of the table that a release had
    ``learnt`` from: it was drawn since, or from another release. An origin that is of that table may have been left beside
    rows that were altered."""
    origins = [claim.origin for claim in found if claim.origin is not None]
    later = any(one.at.replace(microsecond=0) > learnt or one.release not in entry.releases for one in origins)
    return later and len(origins) == len(found)


def _told(source: Source, found: Sequence[Claim]) -> str:
    drawn = [claim for claim in found if claim.origin is not None]
    return str(drawn[0]) if drawn else f"{source.rows():,} rows that are learnt from now"


def _parting(schema: Schema, recipe: Mapping[str, Any]) -> Parting | None:
    """How the table of a release was split; None where its recipe says nothing that is a split."""
    shares, seed = recipe.get("split"), recipe.get("seed")
    if not isinstance(shares, list) or len(shares) not in (3, 4) or not isinstance(seed, int):
        return None
    try:
        train, select, confirm, *test = map(float, shares)
        return Parting.of(Split(train, select, confirm, test[0] if test else 0.0, seed), schema)
    except (UserError, TypeError, ValueError):  # a stranger may have written anything
        return None


def _vouched(node: Node, claim: Claim) -> None:
    node.claims.append(claim)
    if not claim.looked_up:
        node.notes.append(f"{claim.file}: {claim}")
    if claim.excess is not None:
        node.problems.append(f"{claim.file}: {claim.excess}")
    if claim.subset is not None:
        node.notes.append(f"{claim.file}: {claim.subset}{claim.doubt}")
    if claim.signer is None:
        return
    node.signer = claim.signer
    if claim.signer.kind == "unknown":
        node.strangers.append(f"{claim.file}: its origin is of {claim.signer}")


def as_json(node: Node) -> Mapping[str, Any]:
    """A node and its ancestors as plain data; one that was said already is named again, with ``above``."""
    return _plain(node, set())


def _plain(node: Node, said: set[int]) -> dict[str, Any]:
    if id(node) in said:
        return {"kind": node.kind, "name": node.name, "sha256": node.sha256, "above": True}
    said.add(id(node))
    signer = None if node.signer is None else str(node.signer)
    there = {name: value for name, value in vars(node).items() if name not in _INNER} | {"signer": signer}
    plain = {name: value for name, value in there.items() if value not in (None, [], {})}
    return plain | ({"parents": [_plain(parent, said) for parent in node.parents]} if node.parents else {})
