"""A chain of generations is walked back to real rows, and each broken link is found and named."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cluster import storage
from synth import release as releases
from synth.data.location import Files
from synth.data.source import open_source
from synth.errors import UserError
from synth.provenance import keys, lineage
from synth.provenance.origin import Signed
from synth.provenance.policy import Policy, PolicyError
from synth.release import Release
from synth.training import allowed
from synth.training.allowed import Rules
from synth.training.mixing import Given
from tests.command import run
from tests.provenance import chains
from tests.serving.releases import people, publish


def test_a_chain_is_walked_back_to_the_real_rows(
    chain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    node = lineage.walk(str(chain / "rows3.parquet"))
    assert chains.told(node) == ""
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


def _lose(chain: Path) -> None:
    shutil.rmtree(chain / "g1")


def _replay(chain: Path) -> None:
    for name in ("manifest.json", "manifest.sig"):
        shutil.copy(chain / "g1" / name, chain / "g2" / name)


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (_edit, r"rows2.csv: was altered since it was learnt from"),
        (chains.swap, r"g0: recipe.yaml: altered"),
        (_lose, r"rows2.csv: release \w{12} is not to be found"),
        (_replay, r"is not to be found"),
        (chains.strangers, r"g2: manifest.sig: is of an unknown key"),
        (chains.retell, r"rows3.parquet: .*the origin is not as it was signed"),
    ],
)
def test_a_broken_link_is_found_and_named(
    chain: Path, breaks: Callable[[Path], None], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(chain)
    found = chains.told(lineage.walk(str(chain / "rows3.parquet")))
    assert re.search(says, found), found
    assert run(["lineage", str(chain / "rows3.parquet")], monkeypatch) == 1


def accumulated(first: Release, generations: int) -> None:
    """Releases g0 … each of which has learnt from the real rows and from those that all before it drew."""
    tables = ["real.parquet"]
    for k in range(generations):
        chains.made(first, f"g{k}", *tables, seed=k)
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
    assert chains.told(node) == ""
    assert len(list(node.all())) == 8 + 8  # releases, and the tables that they have learnt from
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
        chains.made(first, f"g{k}", f"rows{k}.parquet", seed=k)
        own = releases.load(f"g{k}").manifest
        origin = Signed.of(own, seed=k, first=0, rows=600, key=None, asked={})
        pq.write_table(people().cast(origin.into(people().schema)), f"rows{other}.parquet")
    shutil.rmtree("g0")
    chains.made(first, "g0", "rows0.parquet", seed=0)
    assert "g0: is an ancestor of itself" in chains.told(lineage.walk("g0"))


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
    assert "g2: has depth 2, and what was drawn from it says 1" in chains.told(lineage.walk(str(chain / "some")))


def test_a_manifest_that_was_copied_over_anothers_is_found(chain: Path) -> None:
    _replay(chain)
    assert "altered" in chains.told(lineage.walk(str(chain / "g2")))


def test_another_table_of_the_name_in_this_folder_is_none_of_the_releases(chain: Path, tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    shutil.move(chain / "g0", tmp_path / "moved" / "g0")
    pq.write_table(people(5), chain / "real.parquet")
    there, real = lineage.walk(str(tmp_path / "moved" / "g0")).all()
    assert chains.told(there) == "" and real.where is None
    pq.write_table(people(5), tmp_path / "moved" / "real.parquet")
    assert "was altered" in chains.told(lineage.walk(str(tmp_path / "moved" / "g0")))


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
    assert "more.parquet: has 51 rows" in chains.told(lineage.walk("more.parquet"))
    header, _, rows = (chain / "rows2.csv").read_text().partition("\n")
    (chain / "rows2.csv").write_text(f"{header}\n{rows * 2}")
    assert "rows2.csv: has 100 rows" in chains.told(lineage.walk("rows2.csv"))


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
