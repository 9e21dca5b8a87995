"""A policy lets through what it allows, and names the file, the rule and the remedy of what it does not."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synth.errors import UserError
from synth.provenance import keys, policy
from synth.provenance.keys import Signer
from synth.provenance.lineage import Claim
from synth.provenance.origin import Origin
from synth.provenance.policy import Input, Policy, PolicyError

PRINT = f"ed25519:{'0' * 32}"


def claim(depth: int = 1, kind: Any = "own", file: str = "made.parquet") -> Claim:
    origin = Origin(
        release="ab" * 32, name="adult", version=None, seed=1, first=0, rows=10, key=None, asked={}, depth=depth,
        real_fraction=1.0, at=datetime(2026, 5, 1, tzinfo=UTC), signer=base64.b64encode(bytes(32)).decode(),
    )  # fmt: skip
    return Claim(file, origin, Signer(kind, PRINT, "Ana" if kind == "trusted" else None))


REAL = Input("real.parquet", [Claim("real.parquet")], True, 0.6)


def made(*claims: Claim, share: float = 0.4) -> Input:
    return Input("made.parquet", claims, False, share)


def test_what_nothing_says_of_itself_is_real_where_it_was_given_as_such() -> None:
    assert REAL.depth == 0 and made().depth == 1 and made(claim(3)).depth == 3
    assert Input("a", [claim(2)], True, 1.0).depth == 2
    policy.check(Policy(), [REAL, made(claim())])
    policy.check(Policy(real=1.0), [Input("real.parquet", [Claim("real.parquet")], True, 1.0)])


@pytest.mark.parametrize(
    ("rules", "inputs", "told"),
    [
        ({}, [REAL, made(claim(2))], r"made.parquet: 10 rows drawn from 'adult' .*depth 2, and the policy allows 1 \(depth\)"),
        ({"depth": 0}, [REAL, made()], r"made.parquet: synthetic rows: depth 1, and the policy allows 0"),
        ({}, [Input("a.parquet", [claim(file="a.parquet")], True, 1.0)], r"a.parquet: 10 rows .*leaves 0 of each .*--syn"),
        ({"real": 0.7}, [REAL, made(claim())], r"leaves 0.6 of each batch to real rows, and the policy wants 0.7 \(real\)"),
        ({"signers": "known"}, [REAL, made(claim(kind="unknown"))], r"another signer \(signers\).*trusted_keys"),
        ({"signers": "known"}, [REAL, made(Claim("b.csv"))], r"b.csv: does not say where its rows come from"),
        ({"signers": ["ed25519:" + "1" * 32]}, [REAL, made(claim())], r"another signer .*add this one to the policy"),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_named_with_the_rule(rules: dict[str, Any], inputs: list[Input], told: str) -> None:
    with pytest.raises(PolicyError, match=told):
        policy.check(Policy(**rules), inputs)


def test_where_nothing_can_be_mixed_no_remedy_says_so() -> None:
    with pytest.raises(PolicyError, match=r"Give real rows as DATA; or have the policy say real: 0$"):
        policy.check(Policy(), [Input("a.parquet", [claim(file="a.parquet")], True, 1.0)], mixed=False)


@pytest.mark.parametrize("signers", ["any", "known", [PRINT]])
@pytest.mark.parametrize("kind", ["own", "trusted"])
def test_a_signer_who_is_known_is_enough(signers: Any, kind: str) -> None:
    policy.check(Policy(signers=signers), [REAL, made(claim(kind=kind))])


def test_of_files_each_is_held_against_the_signers() -> None:
    with pytest.raises(PolicyError, match=r"^c.csv: does not say"):
        policy.check(Policy(signers="known"), [REAL, made(claim(), Claim("c.csv"))])


def test_distinct_rows_are_counted_over_all_blocks_and_no_further_than_they_must() -> None:
    read = []

    def blocks() -> Any:
        for block in ([1, 2, 2], [2, 3], [4, 5]):
            read.append(block)
            yield np.array(block, np.uint64)

    policy.check_rows(Policy(rows=3), "real.parquet", blocks())
    assert len(read) == 2
    with pytest.raises(PolicyError, match=r"real.parquet: 5 distinct real rows .* wants 6 \(rows\)"):
        policy.check_rows(Policy(rows=6), "real.parquet", blocks())
    policy.check_rows(Policy(), "real.parquet", iter(()))


def test_the_share_of_real_rows_is_held_to_the_row() -> None:
    policy.check_share(Policy(real=0.6), "real.parquet", 0.6)
    with pytest.raises(PolicyError, match=r"real.parquet: 0.557 of each batch .* wants 0.6 \(real\). Give --mix 0.6"):
        policy.check_share(Policy(real=0.6), "real.parquet", 0.557)


def test_the_users_policy_holds_where_no_other_is_named(tmp_path: Path) -> None:
    assert Policy.read(None) == Policy()
    keys.config_dir().mkdir(parents=True, exist_ok=True)
    (keys.config_dir() / policy.FILE).write_text("depth: 0\n")
    other = tmp_path / "other.yaml"
    other.write_text("real: 0.5\nsigners: known\n")
    assert Policy.read(None) == Policy(depth=0)
    assert Policy.read(str(other)) == Policy(real=0.5, signers="known")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("real: 1.5", r"real: 1.5 \(input should be less than or equal to 1\); nothing can meet it"),
        ("depth: -1", r"depth: -1 "),
        ("signers: []", r"signers: \[\] "),
        ("signers: [somebody]", r"signers: \['somebody'\] "),
        ("dept: 1", r"dept: 1 .*The rules are depth, real, rows, signers"),
        ("- depth", r"is no mapping"),
        ("depth: [", r"is not YAML"),
    ],
)
def test_what_is_no_policy_is_refused_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    place = tmp_path / "policy.yaml"
    place.write_text(text)
    with pytest.raises(UserError, match=told) as refused:
        Policy.read(str(place))
    assert str(place) in str(refused.value)
    with pytest.raises(UserError, match=r"absent.yaml"):
        Policy.read(str(tmp_path / "absent.yaml"))
