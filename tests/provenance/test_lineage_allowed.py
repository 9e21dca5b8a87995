"""Rows that were drawn are learnt from where the whole chain that led to them allows it."""

from __future__ import annotations

import base64
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml

from synth import release as releases
from synth.data.source import open_source
from synth.data.split import Split
from synth.provenance import keys, lineage
from synth.provenance.lineage import Parting
from synth.provenance.origin import OriginError, Signed
from synth.provenance.policy import PolicyError
from synth.training import allowed
from synth.training.allowed import Rules
from synth.training.mixing import Given
from tests.command import run
from tests.provenance import chains
from tests.serving.releases import people


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
        chains.swap(chain)
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
        assert chains.told(lineage.walk(str(chain / "rows2.csv"))) == ""
        assert run(["lineage", str(chain / "rows2.csv")], monkeypatch) == 0

    def test_so_it_is_by_one_of_the_same_release_that_was_drawn_since(self, chain: Path) -> None:
        own = releases.load(str(chain / "g0")).manifest
        origin = Signed.of(own, seed=7, first=0, rows=600, key=None, asked={}).origin
        for hours, there in ((1, True), (0, False)):
            drawn = origin.model_copy(update={"at": own.created + timedelta(hours=hours)})
            said = Signed(drawn, drawn.sign(keys.signing_key()))
            pq.write_table(people().cast(said.into(people().schema)), chain / "rows1.parquet")
            assert ("was altered" not in chains.told(lineage.walk(str(chain / "rows2.csv")))) == there
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
        chains.strangers(chain)
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
        chains.made(replace(like, schema=schema.model_copy(update={"columns": columns})), "g", "real.parquet", seed=3)
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
        chains.strangers(chain)
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
        chains.strangers(chain)
        table = pq.read_table(chain / "real.parquet")
        first, like = releases.load(str(chain / "g0")), chain / "rows1.parquet"
        origin = Signed.of(first.manifest, seed=0, first=0, rows=600, key=None, asked={})
        keys.key_file().write_bytes(key)
        pq.write_table(table.cast(origin.into(table.schema)), like)
        shutil.rmtree(chain / "g1")
        chains.made(first, "g1", "rows1.parquet", seed=1)
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
        chains.retell(chain)
        with pytest.raises(OriginError, match=r"rows3.parquet: the origin is not as it was signed"):
            self.check(chain, "rows3.parquet")
