"""The page's scripts by themselves, where they compute: what they write is read here, what they count is counted here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from synth.data.conditions import Wanted, parse
from synth.data.schema import Column, Schema
from tests.integration.console.browser import MARKS, Browser
from tests.integration.console.service import Service

pytestmark = MARKS


def test_clauses_are_read_as_they_were_meant(browser: Browser, serve: Callable[..., Service]) -> None:
    browser.go(serve().address)
    names = [
        "age",
        "age in",
        "education",
        "education.num",
        "it's",
        'the "x"',
        "a b",
        "a<b",
        "is",
        "missing",
        "Größe",
        "x,y",
        "(z)",
    ]
    values = [
        "Rome", "a b", "a, b", "it's", 'say "so"', "'quoted'", '"quoted"', "=x", "<=50K", ">50K", "(b)", "x)", "in (a)",
        "ünï", "a  b", "is missing", "1e5", "-3", "line\nend", "\\n", "🙂", '"', "'", "%", "#",
    ]  # fmt: skip
    schema = Schema(columns=[Column(name=name, kind="categorical", dtype="string", nullable=True) for name in names])
    script = """const {clauses} = await import("/console/clauses.js");
        return arguments[0].map(([name, operation, values]) => clauses(name, arguments[1], operation, values));"""
    asked = [(n, o, [v]) for n in names for o in ("=", "!=") for v in values]
    asked += [(n, o, values) for n in names for o in ("in", "not in")]
    asked += [(n, o, [a, b]) for n in names[:2] for o in ("in", "not in") for a in values for b in values]
    asked += [(n, o, []) for n in names for o in ("missing", "known")]
    for (name, operation, chosen), texts in zip(asked, browser.run(script, asked, names), strict=True):
        some = frozenset(chosen)
        meant = {
            "=": Wanted(names=some, missing=False), "in": Wanted(names=some, missing=False),
            "!=": Wanted(other_than=some, missing=False), "not in": Wanted(other_than=some, missing=False),
            "missing": Wanted(ranges=(), names=frozenset()), "known": Wanted(missing=False),
        }[operation]  # fmt: skip
        assert parse(texts, schema) == {name: meant}, texts


def test_charts_show_the_shares_that_there_are(browser: Browser, serve: Callable[..., Service]) -> None:
    browser.go(serve().address)
    rng = np.random.default_rng(0)
    script = """const {marginal} = await import("/console/marginals.js"); return marginal(...arguments);"""

    def shown(values: np.ndarray, decimals: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        quantiles = np.quantile(values, np.linspace(0, 1, 101)).tolist()
        column = {"name": "x", "kind": "numerical", "dtype": "double", "decimals": decimals}
        certified = {
            "labels": None,
            "real": quantiles,
            "synthetic": quantiles,
            "missing_real": 0,
            "missing_synthetic": 0,
        }
        found = browser.run(script, column, certified, values.tolist())
        edges = np.array(found["edges"])
        parts = [np.array(found["shares"][name]) for name in ("real", "drawn")]
        for part in parts:
            assert part.sum() == pytest.approx(1) and part.min() >= 0
        true = np.histogram(np.clip(values, edges[0], np.nextafter(edges[-1], edges[0])), edges)[0] / len(values)
        return true, *parts

    spikes = np.where(rng.random(5_000) < 0.7, 0.0, rng.exponential(size=5_000))  # most of it at one value, on an edge
    for values, decimals in (
        (rng.normal(size=5_000), None), (rng.integers(0, 100, 5_000).astype(float), 0),
        (rng.integers(3, 8, 5_000).astype(float), 0), (spikes, None), (np.full(50, 4.0), None), (np.full(50, 4.0), 0),
    ):  # fmt: skip
        true, real, drawn = shown(values, decimals)
        np.testing.assert_allclose(drawn, true, atol=1e-9)
        np.testing.assert_allclose(real, true, atol=0.0201)  # two ends of a bin, a hundredth each

    column = {"name": "c", "kind": "categorical", "dtype": "int64", "decimals": None}
    certified = {
        "labels": ["1.0", "2.0"],
        "real": [0.5, 0.3],
        "synthetic": [0.6, 0.2],
        "missing_real": 0.2,
        "missing_synthetic": 0.1,
    }
    found = browser.run(script, column, certified, [1, 1, 2, None, 7])
    assert found["labels"] == ["1.0", "2.0", "all others", "missing"]
    np.testing.assert_allclose(found["shares"]["real"], [0.5, 0.3, 0, 0.2], atol=1e-9)
    np.testing.assert_allclose(found["shares"]["synthetic"], [0.6, 0.2, 0.1, 0.1], atol=1e-9)
    np.testing.assert_allclose(found["shares"]["drawn"], [0.4, 0.2, 0.2, 0.2], atol=1e-9)
