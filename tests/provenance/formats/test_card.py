"""Cards say what is known, and what comes from outside is text in them."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt

from synth import release as releases
from synth.provenance import keys, lineage
from synth.provenance.formats.card import card, literal, size_category
from tests.provenance.formats.conftest import save


def parts(text: str) -> tuple[dict[str, Any], str]:
    """The front matter, and the rest."""
    start, front, rest = text.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(front), rest


def test_the_card_of_a_release(made: Path, written: Callable[..., str]) -> None:
    front, rest = parts(written(made / "g1", "card"))
    own = keys.fingerprint(keys.signing_key().public_key().public_bytes_raw())
    assert front["synthetic"] is True and "synthetic" in front["tags"] and front["size_categories"] == ["n<1K"]
    assert (
        front["artesian"]["depth"] == 1
        and front["artesian"]["realFraction"] == 0
        and front["artesian"]["signer"] == own
    )
    assert [one.partition(":")[0] for one in front["artesian"]["parents"]] == ["table", "table"]
    assert "| Coverage (share) | high | 0.913 | 0.9 … 0.926 | 0.954 | 0.94 … 0.968 |" in rest
    assert "AUC" not in rest  # of the learners, relative utility is the sum
    assert "what it draws has depth 2" in rest and "0% was real" in rest and "rows1\\.csv" in rest


def test_the_cards_of_tables(made: Path, written: Callable[..., str]) -> None:
    front, rest = parts(written(made / "rows2.parquet", "card"))
    assert front["synthetic"] is True and front["artesian"]["depth"] == 2 and "generation depth 2" in rest
    front, rest = parts(written(made / "real.parquet", "card"))
    assert (
        front["synthetic"] is False and "synthetic" not in front["tags"] and "as far as is known, they are real" in rest
    )
    assert "image" in parts(written(made / "pngs", "card"))[0]["tags"]


def test_a_release_without_a_certificate_says_so(made: Path, written: Callable[..., str]) -> None:
    assert "Nothing: this release has no certificate" in written(made / "g0", "card")
    (made / "g1" / "certificate.json").write_bytes(
        (made / "g1" / "certificate.json").read_bytes().replace(b"0.913", b"0.999")
    )
    said = written(made / "g1", "card", status=1)
    assert "0.999" not in said and "**Broken, so not to be relied on**: certificate\\.json" in said


def test_certificates_of_other_versions_are_passed_over(made: Path) -> None:
    save(releases.load("g0"), "g7", {"train": "real.parquet"}, seed=7, certificate={"figures": {"x": {"title": 1}}})
    assert "not one that this version reads" in card(lineage.walk("g7"))


NASTY = "<script>alert(1)</script> | [x](http://e.vil) `a` ![](y)\n---\n# **b** &amp; www.e.vil \\"


def test_names_are_no_markup(made: Path) -> None:
    save(releases.load("g0"), "g8", {"train": "real.parquet"}, seed=8, title=NASTY)
    front, rest = parts(card(lineage.walk("g8")))
    assert front["pretty_name"] == " ".join(NASTY.split())
    page = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(rest)
    assert "<script" not in page and "<a " not in page and "<img" not in page and "<b" not in page
    assert page.count("<h1>") == 1


@pytest.mark.parametrize("text", [NASTY, "a|b", "1. x", "- x", "~~x~~", "$x$", "a\u2028b", "\udcff"])
def test_text_is_shown_as_it_is(text: str) -> None:
    rendered = MarkdownIt("gfm-like", {"linkify": False}).renderInline(literal(text))
    assert html.unescape(rendered) == " ".join(text.encode("utf-8", "replace").decode().split())


@pytest.mark.parametrize(
    ("rows", "category"),
    [(1, "n<1K"), (999, "n<1K"), (1_000, "1K<n<10K"), (50_000, "10K<n<100K"), (10**6, "1M<n<10M"), (10**12, "n>1T")],
)
def test_size_categories(rows: int, category: str) -> None:
    assert size_category(rows) == category
