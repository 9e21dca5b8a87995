from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa

from synth.data.schema import Column, Schema
from synth.evaluation.certificate import evaluate
from synth.evaluation.report import render

VOID = {"meta", "br"}


class Checker(HTMLParser):
    """Collects tag names and attributes, and insists that what is opened is closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag


def checked(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    assert checker.stack == []
    return checker


def test_the_report_is_one_file_that_fetches_nothing(schema: Schema, people: Callable[..., pa.Table]) -> None:
    real, synthetic = people(300, 0), people(300, 1, towns=8)
    certificate = evaluate(real, synthetic, people(300, 2), schema, preparation=["'income' <0 is missing"])
    html = render(certificate, title="People", real=real, synthetic=synthetic, schema=schema, details={"seed": "7"})
    page = checked(html)
    assert not re.search(r"https?:|//|url\(|@import", html.replace("</", "<"))
    assert not {"script", "link", "iframe", "img", "object"} & {tag for tag, _ in page.tags}
    assert all(attributes.get("aria-label") for tag, attributes in page.tags if tag == "svg")
    for text in ("Shape error", "town 8", "What gives it away", "gradient boosting", "Recipe and lineage", "Notes",
                 "What was done to the data", "&#x27;income&#x27; &lt;0 is missing"):  # fmt: skip
        assert text in html


def test_what_comes_from_outside_is_escaped() -> None:
    name, label = "<script>alert('column')</script>", '"><img src=x onerror=alert(1)>'
    schema = Schema(columns=[Column(name=name, kind="categorical", dtype="string"),
                             Column(name="x&y", kind="numerical", dtype="double")], target=name)  # fmt: skip

    def table(seed: int, labels: list[str]) -> pa.Table:
        rng = np.random.default_rng(seed)
        return pa.table({name: rng.choice(labels, 200), "x&y": rng.normal(size=200)})

    real, synthetic = table(0, [label, "b", "c<d"]), table(1, [label, "b", "e\n\u2028é"])
    certificate = evaluate(real, synthetic, table(2, [label, "b", "c<d"]), schema)
    html = render(certificate, title="</title><script>", real=real, synthetic=synthetic, schema=schema,
                  details={"<b>": "<i>"})  # fmt: skip
    page = checked(html)
    assert not {"script", "img", "b>", "i>"} & {tag for tag, _ in page.tags}
    assert "onerror" not in {key for _, attributes in page.tags for key in attributes}
    assert "&lt;script&gt;alert" in html
    assert "&lt;i&gt;" in html


def test_a_wide_table_shows_its_worst_columns_and_says_so() -> None:
    names = [f"x{i}" for i in range(60)]
    schema = Schema(columns=[Column(name=n, kind="numerical", dtype="double") for n in names])
    rng = np.random.default_rng(0)
    real, synthetic, test = (pa.table(dict(zip(names, rng.normal(size=(60, 120)), strict=True))) for _ in range(3))
    synthetic = synthetic.set_column(33, "x33", pa.array(rng.normal(9, 1, 120)))
    certificate = evaluate(real, synthetic, test, schema)
    html = render(certificate, title="Wide", real=real, synthetic=synthetic, schema=schema)
    assert "What was done to the data" not in html
    assert "The worst 40 of 60 columns are shown" in html
    assert html.index("<h3>x33</h3>") < min(html.index(f"<h3>{n}</h3>") for n in names[:33] if f"<h3>{n}</h3>" in html)
    assert html.count("Distribution of x") == 2 * 40


def test_a_wide_report_shows_the_worst_columns_and_folds_the_others() -> None:
    columns, rows = 52, 100
    names = [f"c{i}" for i in range(columns)]
    schema = Schema(columns=[Column(name=name, kind="categorical", dtype="string") for name in names])

    def drawn(seed: int, kept: int) -> pa.Table:
        """Of the later columns fewer and fewer of ten categories are ``kept``; of the first ten columns all are."""
        rng = np.random.default_rng(seed)
        most = [10 if i < 10 else max(kept - i // 10, 1) for i in range(columns)]
        return pa.table({name: rng.integers(0, m, rows).astype(str) for name, m in zip(names, most, strict=True)})

    real, synthetic = drawn(0, 20), drawn(1, 9)
    html = render(
        evaluate(real, synthetic, drawn(2, 20), schema), title="Wide", real=real, synthetic=synthetic, schema=schema
    )
    page = checked(html)
    shown, folded = html.split("<details>")
    assert len([tag for tag, _ in page.tags if tag == "details"]) == 1
    assert "The other 2 columns that lack some" in folded and "The worst 40 of 52 columns are shown" in shown
    assert '<th scope="row">c51</th>' in shown and folded.count('<th scope="row">c1') == 2
    assert "Every category is present in c0, c1" in html
