"""A chain of generations is walked back to real rows, and each broken link is found and named."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fsspec.implementations.memory import MemoryFileSystem

from cluster import storage
from synth import release as releases
from synth.data.location import Files
from synth.data.source import open_source
from synth.data.split import Split
from synth.errors import UserError
from synth.provenance import keys, lineage
from synth.provenance.lineage import Node, Parting
from synth.provenance.manifest import DataEntry, Training
from synth.provenance.origin import OriginError, Signed
from synth.provenance.policy import Policy, PolicyError
from synth.release import Release
from synth.training import allowed
from synth.training.allowed import Rules
from synth.training.mixing import Given
from tests.command import run
from tests.serving.releases import people, publish


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """real.parquet → g0 → rows1.parquet → g1 → rows2.csv → g2 → rows3.parquet, and the key that signed all of it."""
    folder = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)  # releases name their tables as they were given: they can be moved together
        pq.write_table(people(), "real.parquet")
        first = releases.load(publish(Path("seed")))
        shutil.rmtree("seed")
        made(first, "g0", "real.parquet", seed=0)
        for k, rows in enumerate(("rows1.parquet", "rows2.csv", "rows3.parquet")):
            assert run(["sample", f"g{k}", "-n", "50", "--seed", str(k), "--out", rows], monkeypatch) == 0
            if k < 2:
                made(first, f"g{k + 1}", rows, seed=k + 1)
        return folder, keys.key_file().read_bytes()


@pytest.fixture
def chain(once: tuple[Path, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be broken."""
    folder, key = once
    keys.config_dir().mkdir(parents=True, exist_ok=True)
    keys.key_file().write_bytes(key)
    keys.key_file().chmod(0o600)
    shutil.copytree(folder, tmp_path / "chain")
    monkeypatch.chdir(tmp_path / "chain")
    return tmp_path / "chain"


def made(like: Release, name: str, *tables: str, seed: int) -> None:
    """A release with the files of another, that says that it has learnt from these tables."""
    data = []
    for source in map(open_source, tables):
        claims = lineage.claims(source)
        depth = max(claim.depth for claim in claims)
        data.append(
            DataEntry(
                location=source.location, sha256=source.fingerprint(), rows=source.rows(), role="train",
                real=not depth, depth=depth,
                releases=[claim.origin.release for claim in claims if claim.origin is not None],
            )
        )  # fmt: skip
    with storage.staged_directory(name) as folder:
        releases.save(
            folder, tensors=like.tensors, codec=like.codec, schema=like.schema, recipe=like.recipe | {"seed": seed},
            certificate=None, report=None, name=name, parents=[id for entry in data for id in entry.releases],
            real_fraction=float(not max(entry.depth for entry in data)), seed=seed, data=data,
            training=Training(steps=1, seconds=1.0, workers=1, zero=0, devices=["cpu"]),
        )  # fmt: skip


def told(node: Node) -> str:
    return "\n".join(f"{one.name}: {text}" for one in node.all() for text in [*one.problems, *one.strangers, *one.gaps])


def test_a_chain_is_walked_back_to_the_real_rows(
    chain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = lineage.walk(str(chain / "rows3.parquet"))
    assert told(node) == ""
    assert [(one.kind, Path(one.name).name, one.depth) for one in node.all()] == [
        ("table", "rows3.parquet", 3), ("release", "g2", 2), ("table", "rows2.csv", 2), ("release", "g1", 1),
        ("table", "rows1.parquet", 1), ("release", "g0", 0), ("table", "real.parquet", 0),
    ]  # fmt: skip
    assert [one.real_fraction for one in node.all()] == [0, 0, 0, 0, 0, 1, 1]
    capsys.readouterr()
    assert run(["lineage", str(chain / "rows3.parquet")], monkeypatch) == 0
    assert capsys.readouterr().out.count("depth") == 7
    assert run(["lineage", str(chain / "g2"), "--format", "json"], monkeypatch) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["name"] == "g2" and plain["parents"][0]["parents"][0]["name"] == "g1"


def _edit(chain: Path) -> None:
    (chain / "rows2.csv").write_text((chain / "rows2.csv").read_text().replace("Rome", "Oslo"))


def _swap(chain: Path) -> None:
    shutil.copy(chain / "g2" / "recipe.yaml", chain / "g0" / "recipe.yaml")


def _lose(chain: Path) -> None:
    shutil.rmtree(chain / "g1")


def _replay(chain: Path) -> None:
    for name in ("manifest.json", "manifest.sig"):
        shutil.copy(chain / "g1" / name, chain / "g2" / name)


def _strangers(chain: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    keys.key_file().write_bytes(pem)


def _retell(chain: Path) -> None:
    """The origin of rows3 says that they are nearer to real ones."""
    table = pq.read_table(chain / "rows3.parquet")
    metadata = dict(table.schema.metadata)
    metadata[b"artesian.origin"] = metadata[b"artesian.origin"].replace(b'"depth":3', b'"depth":1')
    pq.write_table(table.replace_schema_metadata(metadata), chain / "rows3.parquet")


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (_edit, r"rows2.csv: was altered since it was learnt from"),
        (_swap, r"g0: recipe.yaml: altered"),
        (_lose, r"rows2.csv: release \w{12} is not to be found"),
        (_replay, r"is not to be found"),
        (_strangers, r"g2: manifest.sig: is of an unknown key"),
        (_retell, r"rows3.parquet: .*the origin is not as it was signed"),
    ],
)
def test_a_broken_link_is_found_and_named(
    chain: Path, breaks: Callable[[Path], None], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(chain)
    found = told(lineage.walk(str(chain / "rows3.parquet")))
    assert re.search(says, found), found
    assert run(["lineage", str(chain / "rows3.parquet")], monkeypatch) == 1


def accumulated(first: Release, generations: int) -> None:
    """Releases g0 … each of which has learnt from the real rows and from those that all before it drew."""
    tables = ["real.parquet"]
    for k in range(generations):
        made(first, f"g{k}", *tables, seed=k)
        own = releases.load(f"g{k}").manifest
        origin = Signed.of(own, seed=k, first=0, rows=600, key=None, asked={})
        pq.write_table(people().cast(origin.into(people().schema)), f"rows{k}.parquet")
        tables.append(f"rows{k}.parquet")


def test_ancestors_that_many_share_are_walked_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    pq.write_table(people(), "real.parquet")
    first = releases.load(publish(Path("seed")))
    shutil.rmtree("seed")
    accumulated(first, 8)
    verified, described = list[str](), releases.described

    def counted(location: storage.Location) -> Any:
        verified.append(str(location))
        return described(location)

    with monkeypatch.context() as watched:
        watched.setattr(releases, "described", counted)
        node = lineage.walk("g7")
    assert sorted(Path(place).name for place in verified) == [f"g{k}" for k in range(8)]
    assert told(node) == "" and len(list(node.all())) == 8 + 8  # releases, and the tables that they have learnt from
    capsys.readouterr()
    assert run(["lineage", "g7"], monkeypatch) == 0
    tree = capsys.readouterr().out
    assert tree.count("depth") == 16 and tree.count("see above") == 1 + 2 + 3 + 4 + 5 + 6 + 7
    assert run(["lineage", "g7", "--format", "json"], monkeypatch) == 0
    assert (plain := capsys.readouterr().out).count('"above": true') == 28 and json.loads(plain)["name"] == "g7"


def test_a_release_that_is_its_own_ancestor_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its id is of the files that decide its rows, and what it has learnt from is none of these."""
    monkeypatch.chdir(tmp_path)
    first = releases.load(publish(Path("seed")))
    shutil.rmtree("seed")
    pq.write_table(people(), "rows0.parquet")
    for k, other in ((0, 1), (1, 0)):
        made(first, f"g{k}", f"rows{k}.parquet", seed=k)
        own = releases.load(f"g{k}").manifest
        origin = Signed.of(own, seed=k, first=0, rows=600, key=None, asked={})
        pq.write_table(people().cast(origin.into(people().schema)), f"rows{other}.parquet")
    shutil.rmtree("g0")
    made(first, "g0", "rows0.parquet", seed=0)
    assert "g0: is an ancestor of itself" in told(lineage.walk("g0"))


def test_of_files_of_several_depths_each_is_held_against_the_release(chain: Path) -> None:
    """The last of them does not hide that another says less than is true."""
    (chain / "some").mkdir()
    for k, depth in enumerate((2, 3)):
        table = pq.read_table(chain / "rows3.parquet")
        [claim] = lineage.claims(open_source(str(chain / "rows3.parquet")))
        assert claim.origin is not None
        origin = claim.origin.model_copy(update={"depth": depth})
        said = Signed(origin, origin.sign(keys.signing_key())).into(table.schema).metadata
        pq.write_table(table.replace_schema_metadata(said), chain / "some" / f"{k}.parquet")
    assert "g2: has depth 2, and what was drawn from it says 1" in told(lineage.walk(str(chain / "some")))


def test_a_manifest_that_was_copied_over_anothers_is_found(chain: Path) -> None:
    _replay(chain)
    assert "altered" in told(lineage.walk(str(chain / "g2")))


def test_another_table_of_the_name_in_this_folder_is_none_of_the_releases(chain: Path, tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    shutil.move(chain / "g0", tmp_path / "moved" / "g0")
    pq.write_table(people(5), chain / "real.parquet")
    there, real = lineage.walk(str(tmp_path / "moved" / "g0")).all()
    assert told(there) == "" and real.where is None
    pq.write_table(people(5), tmp_path / "moved" / "real.parquet")
    assert "was altered" in told(lineage.walk(str(tmp_path / "moved" / "g0")))


def test_a_gap_is_allowed_where_one_says_so(
    chain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _lose(chain)
    there = ["lineage", str(chain / "rows3.parquet")]
    assert run(there, monkeypatch) == 1
    capsys.readouterr()
    assert run([*there, "--allow-missing-parent"], monkeypatch) == 0
    assert "gap" in capsys.readouterr().out
    (chain / "kept").mkdir()
    shutil.move(chain / "g2", chain / "kept" / "g2")
    assert run([*there, "--ancestors", str(chain / "kept"), "--allow-missing-parent"], monkeypatch) == 0


def test_a_table_that_was_compressed_since_says_what_it_did(chain: Path) -> None:
    (chain / "rows2.csv.gz").write_bytes(gzip.compress((chain / "rows2.csv").read_bytes()))
    assert [claim.depth for claim in lineage.claims(open_source("rows2.csv.gz"))] == [2]
    (chain / "rows2.csv.origin.json").rename(chain / "rows2.csv.gz.origin.json")
    assert [claim.depth for claim in lineage.claims(open_source("rows2.csv.gz"))] == [2]
    assert [claim.depth for claim in lineage.claims(open_source("rows2.csv"))] == [0]


class Unlisted(MemoryFileSystem):
    """A store of which one may read files, and where a look-up of one that is not there is refused."""

    protocol = "unlisted"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("unlisted://", "memory://")))

    def info(self, path: str, **keys: object) -> dict[str, object]:
        try:
            return dict(super().info(path, **keys))
        except FileNotFoundError as error:
            raise PermissionError("403") from error


def test_an_origin_that_may_not_be_looked_up_stops_nobody_and_is_told() -> None:
    fsspec.register_implementation("unlisted", Unlisted, clobber=True)
    with fsspec.open("memory://unlisted/real.csv", "wb") as file:
        pa.csv.write_csv(people(), file)
    source = open_source("unlisted://unlisted/real.csv")
    [claim] = lineage.claims(source)
    assert (claim.depth, claim.looked_up) == (0, False)
    [note] = allowed.check(Rules.read(), {"train": source})
    assert "real.csv: whether it has an origin could not be looked up" in note
    assert source.rows() == 600


def test_the_rows_of_a_file_are_counted_against_its_origin(
    chain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = {"train": open_source(people(900)), "synthetic 1": open_source("rows1.parquet")}
    [note] = allowed.check(Rules.read(), sources, [Given("rows1.parquet")])
    assert "here are" not in note
    table = pq.read_table("rows1.parquet")
    pq.write_table(table.slice(0, 20), "fewer.parquet")
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), "more.parquet")
    sources["synthetic 1"] = open_source("fewer.parquet")
    [note] = allowed.check(Rules.read(), sources, [Given("fewer.parquet")])
    assert "; here are 20 of the 50 rows that its origin tells of" in note
    sources["synthetic 1"] = open_source("more.parquet")
    with pytest.raises(PolicyError, match=r"more.parquet: has 51 rows, and its origin tells of 50: where the others"):
        allowed.check(Rules.read(), sources, [Given("more.parquet")])
    capsys.readouterr()
    assert run(["lineage", "fewer.parquet", "--format", "json"], monkeypatch) == 0
    [note] = json.loads(capsys.readouterr().out)["notes"]
    assert note.endswith("fewer.parquet: 20 of the 50 rows that its origin tells of")
    assert run(["lineage", "fewer.parquet"], monkeypatch) == 0
    assert "note: " in capsys.readouterr().out
    assert run(["lineage", "more.parquet"], monkeypatch) == 1
    assert "more.parquet: has 51 rows" in told(lineage.walk("more.parquet"))
    header, _, rows = (chain / "rows2.csv").read_text().partition("\n")
    (chain / "rows2.csv").write_text(f"{header}\n{rows * 2}")
    assert "rows2.csv: has 100 rows" in told(lineage.walk("rows2.csv"))


def test_rows_without_a_word_are_real_rows(tmp_path: Path) -> None:
    pq.write_table(people(), tmp_path / "real.parquet")
    people().to_pandas().to_csv(tmp_path / "real.csv", index=False)
    for name in ("real.parquet", "real.csv"):
        [claim] = lineage.claims(open_source(str(tmp_path / name)))
        assert (claim.origin, claim.depth) == (None, 0)
    [claim] = lineage.claims(open_source(people()))
    assert str(claim) == "does not say where its rows come from"
    (tmp_path / "real.csv.origin.json").write_text("no JSON")
    with pytest.raises(Exception, match=r"real.csv.origin.json: says nothing that can be understood"):
        lineage.claims(open_source(str(tmp_path / "real.csv")))


def test_a_folder_says_what_each_of_its_files_does(chain: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("mixed")
    pq.write_table(people().select(["age", "city"]), folder / "a.parquet")
    rows = pq.read_table(chain / "rows1.parquet")
    pq.write_table(rows.select(["age", "city"]), folder / "b.parquet")
    assert [claim.depth for claim in lineage.claims(open_source(str(folder)))] == [0, 1]
    for name in ("rows2.csv", "rows2.csv.origin.json"):
        shutil.copy(chain / name, folder / name)
    assert [claim.depth for claim in lineage.claims(open_source(str(folder / "*.csv")))] == [2]


def test_files_beside_are_looked_up_once(chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, looked, beside = open_source("rows2.csv"), list[Files](), Files.beside

    def counted(files: Files) -> Any:
        looked.append(files)
        return beside(files)

    monkeypatch.setattr(Files, "beside", counted)
    assert lineage.claims(source) == lineage.claims(source) == lineage.claims(source.only(["age"])) and len(looked) == 1


@pytest.mark.parametrize("content", ["[" * 60_000, '{"a": 1}', '{"\\ud800": "x"}', "{" + " " * (1 << 17) + "}"])
def test_what_lies_beside_is_no_reason_to_fail_without_a_word(tmp_path: Path, content: str) -> None:
    people().to_pandas().to_csv(tmp_path / "real.csv", index=False)
    (tmp_path / "real.csv.origin.json").write_text(content)
    with pytest.raises(UserError, match=r"real.csv.origin.json: says nothing that can be understood"):
        lineage.claims(open_source(str(tmp_path / "real.csv")))


def test_an_origin_that_others_left_behind_is_named_with_what_to_do(
    chain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real rows are written where drawn ones were, whose origin is still there."""
    people(40).to_pandas().to_csv("rows2.csv", index=False)
    remedy = r"\. It is \S*rows2.csv.origin.json that says so of the 40 rows here: if these are other rows, remove it$"
    for rules, told in (({}, r"depth 2, and the policy"), ({"depth": 2}, r"leaves 0 of each .* real: 0")):
        with pytest.raises(PolicyError, match=told + r".*" + remedy):
            allowed.check(Rules(Policy(**rules)), {"train": open_source("rows2.csv")})
    with pytest.raises(PolicyError, match=r"give real ones by --test" + remedy):
        allowed.check(Rules(Policy()), {"train": open_source(people(900)), "test": open_source("rows2.csv")})
    capsys.readouterr()
    assert run(["lineage", "rows2.csv", "--format", "json"], monkeypatch) == 0
    [note] = json.loads(capsys.readouterr().out)["notes"]
    assert "40 of the 50 rows" in note and re.search(remedy, note)
    people(60).to_pandas().to_csv("rows2.csv", index=False)
    [claim] = lineage.claims(open_source("rows2.csv"))
    assert claim.excess is not None and "rows2.csv.origin.json that says so of the 60 rows here" in claim.excess
    [claim] = lineage.claims(open_source("rows1.parquet"))
    assert claim.doubt == "", "what is in a file is of its rows"


class TestAllowed:
    def check(self, chain: Path, rows: str, *, test: pa.Table | None = None, **rules: object) -> list[str]:
        sources = {"train": open_source(people(900)), "synthetic 1": open_source(str(chain / rows))}
        if test is not None:
            sources["test"] = open_source(test)
        place = chain / "policy.yaml"
        place.write_text(yaml.safe_dump(rules.pop("policy", {})))
        return allowed.check(Rules.read(str(place), **rules), sources, [Given(rows)], "golden")  # type: ignore[arg-type]

    def test_rows_whose_ancestors_are_there_are_learnt_from(self, chain: Path) -> None:
        [note] = self.check(chain, "rows1.parquet")
        assert "50 rows drawn from 'g0'" in note and "depth 1" in note

    def test_samples_of_samples_are_not(self, chain: Path) -> None:
        with pytest.raises(PolicyError, match=r"rows2.csv: .*depth 2, and the policy allows 1"):
            self.check(chain, "rows2.csv")
        assert self.check(chain, "rows2.csv", policy={"depth": 2})

    def test_an_ancestor_out_of_reach_is_asked_for(self, chain: Path) -> None:
        shutil.rmtree(chain / "g0")
        with pytest.raises(PolicyError, match=r"rows1.parquet: was drawn from .*--ancestors, .*--allow-missing-parent"):
            self.check(chain, "rows1.parquet")
        [note] = self.check(chain, "rows1.parquet", missing=True)
        assert "out of reach" in note

    def test_an_ancestor_that_was_altered_is_refused(self, chain: Path) -> None:
        _swap(chain)
        with pytest.raises(PolicyError, match=r"its ancestor g0: recipe.yaml: altered"):
            self.check(chain, "rows1.parquet")

    def test_test_rows_are_real_ones(self, chain: Path) -> None:
        with pytest.raises(PolicyError, match=r"rows1.parquet: .*nothing is certified on synthetic rows"):
            sources = {"train": open_source(people(900)), "test": open_source(str(chain / "rows1.parquet"))}
            allowed.check(Rules.read(), sources)

    def test_rows_that_say_to_be_nearer_to_real_ones_than_their_release_is_are_refused(self, chain: Path) -> None:
        table, own = pq.read_table(chain / "rows3.parquet"), keys.signing_key()
        [claim] = lineage.claims(open_source(str(chain / "rows3.parquet")))
        assert claim.origin is not None
        lie = claim.origin.model_copy(update={"depth": 1})
        pq.write_table(
            table.replace_schema_metadata(Signed(lie, lie.sign(own)).into(table.schema).metadata),
            chain / "rows3.parquet",
        )
        with pytest.raises(PolicyError, match=r"says that its rows have depth 1, and the release .* has 2"):
            self.check(chain, "rows3.parquet")

    def again(self, chain: Path, *, seed: int = 7, at: timedelta = timedelta(hours=1)) -> None:
        """rows1.parquet, from which g1 has learnt, is written over by rows that were drawn from g1 after it."""
        own = releases.load(str(chain / "g1")).manifest
        drawn = Signed.of(own, seed=seed, first=0, rows=600, key=None, asked={}).origin
        origin = drawn.model_copy(update={"at": own.created + at})
        said = Signed(origin, origin.sign(keys.signing_key()))
        pq.write_table(people().cast(said.into(people().schema)), chain / "rows1.parquet")

    @pytest.mark.parametrize("at", [timedelta(hours=1), -timedelta(hours=1)])
    def test_a_sample_that_was_written_over_by_another_one_is_not_here_any_more(
        self, chain: Path, at: timedelta, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.again(chain, at=at)
        for rows in ("rows1.parquet", "rows2.csv"):  # what lies at the place of the ancestor, and another table
            [note] = self.check(chain, rows, policy={"depth": 2})
            assert "rows1.parquet is not here any more: at its place are 600 rows drawn from 'g1'" in note
        assert told(lineage.walk(str(chain / "rows2.csv"))) == ""
        assert run(["lineage", str(chain / "rows2.csv")], monkeypatch) == 0

    def test_so_it_is_by_one_of_the_same_release_that_was_drawn_since(self, chain: Path) -> None:
        own = releases.load(str(chain / "g0")).manifest
        origin = Signed.of(own, seed=7, first=0, rows=600, key=None, asked={}).origin
        for hours, there in ((1, True), (0, False)):
            drawn = origin.model_copy(update={"at": own.created + timedelta(hours=hours)})
            said = Signed(drawn, drawn.sign(keys.signing_key()))
            pq.write_table(people().cast(said.into(people().schema)), chain / "rows1.parquet")
            assert ("was altered" not in told(lineage.walk(str(chain / "rows2.csv")))) == there
        with pytest.raises(PolicyError, match=r"its ancestor rows1.parquet: was altered since .*restore it"):
            self.check(chain, "rows2.csv", policy={"depth": 2})

    def test_a_table_that_is_learnt_from_now_is_no_altered_ancestor(self, chain: Path) -> None:
        pq.write_table(people(700), chain / "rows1.parquet")
        with pytest.raises(PolicyError, match=r"its ancestor rows1.parquet: was altered"):
            self.check(chain, "rows2.csv", policy={"depth": 2})
        sources = {"train": open_source("rows1.parquet"), "synthetic 1": open_source("rows2.csv")}
        (chain / "deep.yaml").write_text("depth: 2")
        [note] = allowed.check(Rules.read("deep.yaml"), sources, [Given("rows2.csv")])
        assert "rows1.parquet is not here any more: at its place are 700 rows that are learnt from now" in note

    def test_real_rows_that_have_become_more_are_told(self, chain: Path) -> None:
        pq.write_table(people(700), chain / "real.parquet")
        [note] = self.check(chain, "rows1.parquet")
        assert "real.parquet was altered since it was learnt from" in note

    def test_strangers_are_refused_where_the_policy_wants_to_know_them(self, chain: Path) -> None:
        _strangers(chain)
        assert self.check(chain, "rows1.parquet")
        with pytest.raises(PolicyError, match=r"rows1.parquet: .*and the policy wants another signer"):
            self.check(chain, "rows1.parquet", policy={"signers": "known"})

    @pytest.mark.parametrize(
        ("then", "now", "told"),
        [
            ({"seed": 3}, Split(seed=3), None),
            ({"seed": 3}, Split(0.8, 0.1, 0.05, 0.05, seed=3), None),  # what is held out now was, then
            ({"seed": 3}, Split(seed=4), r"g has learnt from the same real rows with --split 0.7,0.1,0.1,0.1 --seed 3, .*give"
             r" --split 0.7,0.1,0.1,0.1 --seed 3 and the same columns, or give real rows that it has not seen by --test"),
            ({"seed": 3}, Split(0.6, 0.2, 0.1, 0.1, seed=3), r"with --split 0.7,0.1,0.1,0.1 --seed 3, and may know"),
            ({"seed": 3, "split": None}, Split(seed=3), r"in a split that it does not tell, .*held out now: give real rows"),
            ({"seed": 3, "exclude": "city"}, Split(seed=3), r"in the same split of other columns"),
        ],
    )  # fmt: skip
    def test_rows_that_are_held_out_now_were_held_out_then(
        self, chain: Path, then: dict[str, Any], now: Split, told: str | None
    ) -> None:
        first = releases.load(str(chain / "g0"))
        schema, left_out = first.schema, then.pop("exclude", None)
        columns = [column for column in schema.columns if column.name != left_out]
        like = replace(first, recipe=first.recipe | {"split": [0.7, 0.1, 0.1, 0.1]} | then)
        made(replace(like, schema=schema.model_copy(update={"columns": columns})), "g", "real.parquet", seed=3)
        origin = Signed.of(releases.load("g").manifest, seed=0, first=0, rows=600, key=None, asked={})
        pq.write_table(people().cast(origin.into(people().schema)), "rows.parquet")
        sources = {"train": open_source("real.parquet"), "synthetic 1": open_source("rows.parquet")}
        asked = Rules.read(), sources, [Given("rows.parquet")], "golden", Parting.of(now, schema)
        if told is None:
            [note] = allowed.check(*asked)  # type: ignore[arg-type]
            assert "held out" not in note
            return
        with pytest.raises(PolicyError, match=told):
            allowed.check(*asked)  # type: ignore[arg-type]
        sources["test"] = open_source(people(300))
        [note] = allowed.check(*asked)  # type: ignore[arg-type]
        assert "g has learnt from the same real rows" in note and "may know rows that are held out now" in note

    def test_ancestors_are_held_to_the_signers_too(self, chain: Path) -> None:
        """A known signer has drawn from what a stranger has made."""
        stranger = keys.fingerprint(keys.signing_key().public_key().public_bytes_raw())
        _strangers(chain)
        own = keys.fingerprint(keys.signing_key().public_key().public_bytes_raw())
        table = pq.read_table(chain / "rows1.parquet")
        [claim] = lineage.claims(open_source(str(chain / "rows1.parquet")))
        assert claim.origin is not None
        signer = base64.b64encode(keys.signing_key().public_key().public_bytes_raw()).decode()
        mine = claim.origin.model_copy(update={"signer": signer})
        said = Signed(mine, mine.sign(keys.signing_key())).into(table.schema).metadata
        pq.write_table(table.replace_schema_metadata(said), chain / "rows1.parquet")
        assert self.check(chain, "rows1.parquet")
        for signers in ("known", [own]):
            with pytest.raises(
                PolicyError, match=r"rows1.parquet: its ancestor g0 is signed by an unknown key, .*signers"
            ):
                self.check(chain, "rows1.parquet", policy={"signers": signers})
        assert self.check(chain, "rows1.parquet", policy={"signers": [own, stranger]})

    def test_the_origins_of_ancestors_are_held_to_the_signers_too(self, chain: Path) -> None:
        """rows2.csv, and g1 that drew it, are of one key; rows1.parquet, from which that has learnt, is of another."""
        policy = {"depth": 3, "signers": "known"}
        assert self.check(chain, "rows3.parquet", policy=policy)
        key = keys.key_file().read_bytes()
        _strangers(chain)
        table = pq.read_table(chain / "real.parquet")
        first, like = releases.load(str(chain / "g0")), chain / "rows1.parquet"
        origin = Signed.of(first.manifest, seed=0, first=0, rows=600, key=None, asked={})
        keys.key_file().write_bytes(key)
        pq.write_table(table.cast(origin.into(table.schema)), like)
        shutil.rmtree(chain / "g1")
        made(first, "g1", "rows1.parquet", seed=1)
        again = releases.load(str(chain / "g1")).manifest
        drawn = Signed.of(again, seed=0, first=0, rows=600, key=None, asked={})
        pq.write_table(table.cast(drawn.into(table.schema)), chain / "rows.parquet")
        with pytest.raises(PolicyError, match=r"rows.parquet: its ancestor \S*rows1.parquet: 600 rows .*signers"):
            self.check(chain, "rows.parquet", policy=policy)
        assert self.check(chain, "rows.parquet", policy={"depth": 3})

    def test_test_rows_that_an_ancestor_knows_are_refused(self, chain: Path) -> None:
        with pytest.raises(PolicyError, match=r"an ancestor has learnt from the test rows"):
            sources = {
                "train": open_source(people(900)), "test": open_source(str(chain / "real.parquet")),
                "synthetic 1": open_source(str(chain / "rows1.parquet")),
            }  # fmt: skip
            allowed.check(Rules.read(), sources, [Given("rows1.parquet")], "golden")
        assert self.check(chain, "rows1.parquet", test=people(300))

    def test_an_origin_that_was_altered_is_refused(self, chain: Path) -> None:
        _retell(chain)
        with pytest.raises(OriginError, match=r"rows3.parquet: the origin is not as it was signed"):
            self.check(chain, "rows3.parquet")
