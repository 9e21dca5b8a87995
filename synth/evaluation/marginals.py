"""The report's pictures of single columns."""

from __future__ import annotations

from html import escape

import numpy as np
import pyarrow as pa

from synth.data.schema import Schema
from synth.evaluation import charts
from synth.evaluation.certificate import Certificate
from synth.evaluation.details import ColumnDetail, Marginal
from synth.evaluation.frame import Lens
from synth.evaluation.page import card, grid, key, section

MAX_COLUMNS = 40
BARS = 6


def columns_section(certificate: Certificate, real: pa.Table, synthetic: pa.Table, schema: Schema) -> str:
    """Cards of the columns' distributions, the largest shape error first, 40 at most."""
    order = sorted(certificate.columns, key=lambda name: -certificate.columns[name].shape_error)
    shown = order[:MAX_COLUMNS]
    drawn = Schema(columns=[schema[name] for name in schema.names if name in set(shown)])
    lens = Lens.fit(
        drawn, {"the real table": real.select(drawn.names), "the synthetic table": synthetic.select(drawn.names)}
    )
    rng = np.random.default_rng(certificate.seed)
    numbers = [lens.view(t, "", rng)[0].numbers for t in (real, synthetic)]
    cards = []
    for name in shown:
        detail = certificate.columns[name]
        if name in lens.number_names:
            i = lens.number_names.index(name)
            values = [n[:, i][~np.isnan(n[:, i])] for n in numbers]
            picture = charts.marginal(name, values[0], values[1], detail.kind == "datetime")
        else:
            picture = charts.categories(name, *_bars(certificate.reference[name]))
        cards.append(card(name, f"{detail.shape_error:.2f} % (real {detail.baseline:.2f})", picture, _remark(detail)))
    lead = (
        "Each column's distribution; in the corner its shape error and that of real test rows. The worst comes first."
    )
    if len(order) > len(shown):
        lead += f" The worst {len(shown)} of {len(order)} columns are shown."
    return section("Columns", lead, key(("real", "real"), ("synthetic", "synthetic")), grid(cards, "wide"))


def _bars(marginal: Marginal) -> tuple[list[str], list[float], list[float]]:
    """The commonest categories, what is left of them and missing values, as labels and shares."""
    assert marginal.labels is not None and marginal.real is not None and marginal.synthetic is not None
    few = BARS if len(marginal.labels) > BARS + 1 else len(marginal.labels)
    labels, real, synthetic = marginal.labels[:few], marginal.real[:few], marginal.synthetic[:few]
    rest = [
        max(0.0, 1 - sum(part) - missing)
        for part, missing in ((real, marginal.missing_real), (synthetic, marginal.missing_synthetic))
    ]
    if max(rest) > 1e-6:
        labels, real, synthetic = [*labels, "all others"], [*real, rest[0]], [*synthetic, rest[1]]
    if max(marginal.missing_real, marginal.missing_synthetic) > 0:
        labels = [*labels, "missing"]
        real, synthetic = [*real, marginal.missing_real], [*synthetic, marginal.missing_synthetic]
    return labels, real, synthetic


def _remark(detail: ColumnDetail) -> str:
    parts = []
    if detail.missing_real or detail.missing_synthetic:
        parts.append(f"missing: real {detail.missing_real:.2%}, synthetic {detail.missing_synthetic:.2%}")
    if detail.unknown:
        parts.append(f"categories that real train lacks: {detail.unknown:.2%} of synthetic rows")
    return f"<p>{escape(' · '.join(parts))}</p>" if parts else ""
