from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.evaluation.axes import Axis, below
from tests.evaluation.test_report import checked
from tuning import charts
from tuning.charts import Curve, Interval, Point

reals = st.floats(-1e6, 1e6)


@given(st.lists(reals, min_size=1, max_size=8), st.booleans())
def test_an_axis_holds_its_values_in_order_and_its_ticks_are_on_it(values: list[float], log: bool) -> None:
    values = [abs(v) + 1e-3 for v in values] if log else values
    axis = Axis.over(values, 0, 100, log=log)
    places = [axis.at(v) for v in sorted(values)]
    assert places == sorted(places)
    assert all(0 < p < 100 for p in places)
    ticks = axis.ticks()
    slack = 1e-9 * (axis.high - axis.low)
    assert all(axis.low - slack <= tick <= axis.high + slack for tick, _ in ticks)
    assert log or 2 <= len(ticks) <= 7
    assert len({label for _, label in ticks}) == len(ticks)


def test_values_beyond_an_axis_lie_on_its_ends() -> None:
    axis = Axis.over([1.0, 2.0], 10, 20)
    assert (axis.at(-5), axis.at(50)) == (10, 20)
    assert Axis.over([20.0, math.nan], 0, 1, log=True).at(20.0) == pytest.approx(0.5)
    assert Axis.over([0.0, 10.0, 100.0], 0, 1, log=True).at(0.0) == 0  # no logarithm: at the edge


def test_a_few_values_far_below_do_not_flatten_the_others() -> None:
    values = [0.90, 0.91, 0.92, 0.93, 0.94, -3.0]
    assert below(values) == 1
    assert below([0.5, 0.5]) == 0 and below([]) == 0
    picture = charts.steps("best", "trial", list(enumerate(values)), 0.91, integers=True)
    checked(picture)
    assert f'cy="{charts.HEIGHT - charts.BOTTOM:.1f}"' in picture  # on the lower edge
    assert "default 0.9100" in picture


def test_the_best_so_far_never_falls() -> None:
    picture = charts.steps("best", "trial", [(0, 0.5), (1, 0.4), (2, 0.6), (3, 0.55)], None, integers=True)
    path = picture.split('class="outline" d="M')[1].split('"')[0]
    assert path.count("V") == 1  # one step up, from .5 to .6
    assert "default" not in picture


def test_families_differ_by_mark_and_dash_and_not_by_colour_alone() -> None:
    marks = {charts.mark(family, 0, 0).split()[0] for family in ("diffusion", "gan", "vae")}
    assert marks == {"<circle", "<rect", "<path"}
    assert len(set(charts.DASHES.values())) == 3


def test_all_that_is_drawn_is_well_formed_and_escaped() -> None:
    hostile = '"><script>x</script>'
    plot = charts.plot(hostile, hostile, [0.0, 1.0], [1.0])
    plot.points([Point(1, hostile, 0.5, 1.0, hostile, error=0.1, across=0.1, ring=True)])
    pictures = [
        plot.svg(hostile),
        charts.intervals(hostile, [Interval(1, hostile, hostile, 0.9, 0.0, hostile, True)], None, hostile),
        charts.learning(hostile, [Curve(1, hostile, [(20.0, 0.5, 0.1)], hostile, end="×")], 0.5),
        charts.parallel(hostile, [(hostile, "0", "1"), ("b", "0", "1")], [(1, [0.5, None], 1.0, hostile)]),
        charts.bars(hostile, [(hostile, -0.1, 0.2)]),
        charts.family_key([hostile], hostile),
    ]
    for picture in pictures:
        assert not {"script", "x"} & {tag for tag, _ in checked(picture).tags}
