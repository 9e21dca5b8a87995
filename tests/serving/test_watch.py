"""A release under watch: quiet while all is well, quick when it is not, and it names what went missing."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from serving.monitor.trends import Trends
from serving.monitor.view import View
from serving.monitor.watch import Alarm, Watch
from synth.data.schema import Schema

Draw = Callable[..., pa.Table]


def watched(view: View, served: pa.Table, fresh: pa.Table | None, *, plain: bool = True) -> Alarm | None:
    features = view.reference.features[:0] if fresh is None else view(fresh).features
    return Watch(view).look(view(served), features, plain=plain)


def test_a_healthy_stream_raises_no_alarm(view: View, draw: Draw) -> None:
    watch = Watch(view)
    for part in range(4):
        assert watch.look(view(draw(16_384, 10 + part)), view(draw(16_384, 20 + part)).features, plain=True) is None
    assert watch.rows == 4 * 16_384


FAULTS: dict[str, Callable[[Draw], pa.Table]] = {
    "a town is gone": lambda draw: draw(9_000, 1).filter(pc.not_equal(draw(9_000, 1)["town"], "town 4")),
    "numbers come from the middle": lambda draw: draw(4_000, 1, width=0.7),
    "half of the towns are gone": lambda draw: draw(4_000, 1, towns=2),
    "a column is frozen": lambda draw: draw(4_000, 1).set_column(3, "bought", pa.array([True] * 4_000)),
    "rows repeat": lambda draw: pa.concat_tables([draw(40, 1)] * 100),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("shadowed", [True, False])
def test_a_fault_is_found(view: View, draw: Draw, fault: str, shadowed: bool) -> None:
    alarm = watched(view, FAULTS[fault](draw), draw(9_000, 2) if shadowed else None)
    assert alarm is not None and alarm.rows <= 4_000


def test_what_went_missing_is_named_first(view: View, draw: Draw) -> None:
    alarm = watched(view, FAULTS["a town is gone"](draw), None)
    assert alarm is not None and alarm.detector == "kinds"
    assert alarm.changes[0].kind == "town = town 4" and alarm.changes[0].share == 0
    assert "certified 8." in str(alarm.changes[0])


@pytest.mark.parametrize("fault", sorted(FAULTS.keys() - {"a column is frozen"}))  # of which 64 rows are enough
def test_a_fault_looks_odd_before_it_is_sure(view: View, draw: Draw, fault: str) -> None:
    served, watch, odd = FAULTS[fault](draw), Watch(view), list[bool]()
    for start in range(0, len(served), 64):
        if watch.look(view(served.slice(start, 64)), view.reference.features[:0], plain=True) is not None:
            break
        odd.append(watch.odd)
    assert any(odd)


def test_a_healthy_stream_does_not_look_odd(view: View, draw: Draw) -> None:
    watch = Watch(view)
    for seed in range(10, 14):
        assert watch.look(view(draw(2_048, seed)), view.reference.features[:0], plain=True) is None
        assert not watch.odd


def test_rows_of_the_certificate_prepare_the_classifier_and_are_not_bet_on(view: View, draw: Draw) -> None:
    """Of a healthy stream with few fresh rows, however well it knows the certificate's; of a faulty one it needs fewer."""
    fresh, none = view(draw(2_048, 2)).features, view.reference.features[:0]
    watch = Watch(view)
    for part in range(6):
        watch.look(view(draw(4_096, 10 + part)), none, plain=True)
    assert watch.shadow.mixture.log_value == -np.inf
    assert watch.look(view(draw(2_048, 30)), fresh, plain=True) is None

    def needed(*, prepared: bool) -> int:
        """Pairs."""
        watch = Watch(view)
        if prepared:
            watch.shadow.prepare(view(draw(2_048, 3, width=0.7)).features, watch._certified(2_048))
        served = view(draw(2_048, 1, width=0.7)).features
        for start in range(0, 2_048, 32):
            watch.shadow.update(served[start : start + 32], fresh[start : start + 32])
            if watch.shadow.mixture.log_value > np.log(1e6):
                return start + 32
        raise AssertionError("it was not found")

    assert needed(prepared=True) < needed(prepared=False)


def test_what_was_asked_for_is_no_fault(view: View, draw: Draw) -> None:
    """Rows of one town, beside fresh rows of it: other than certified ones, and as they should be."""

    def asked(seed: int) -> pa.Table:
        table = draw(40_000, seed)
        return table.filter(pc.equal(table["town"], "town 4"))

    watch = Watch(view)
    assert watch.look(view(asked(1)), view(asked(2)).features, plain=False) is None
    values = watch.log_values
    assert values["kinds"] == values["alike"] == -np.inf, "nothing was bet, and so no step was taken"
    # And where that is collapsed, it is found.
    half = asked(1).filter(pc.less(asked(1)["age"], 50))
    alarm = Watch(view).look(view(half), view(asked(2)).features, plain=False)
    assert alarm is not None and alarm.detector == "classifier"


def test_it_goes_on_after_a_restart(view: View, draw: Draw) -> None:
    served, fresh = view(draw(2_000, 1)), view(draw(2_000, 2)).features
    first = Watch(view)
    first.look(served, fresh, plain=True)
    second = Watch(view)
    second.restore({name: array.copy() for name, array in first.state().items()})
    assert second.log_values == first.log_values and second.rows == 2_000
    # What was learnt is there, too.
    narrow = view(draw(64, 3, width=0.7)).features
    assert (second.shadow.classifier.chance(narrow) == first.shadow.classifier.chance(narrow)).all()
    with pytest.raises(ValueError, match="another release"):
        second.restore({"kinds": np.zeros(3)})


def test_trends_are_near_their_baselines_while_all_is_well(view: View, draw: Draw) -> None:
    trends = Trends(view)
    assert trends.now() == {}
    trends.add(view(draw(5_000, 1)))
    for name, trend in trends.now().items():
        assert trend.ratio == pytest.approx(1, abs=0.15), name


def test_a_baseline_says_how_much_chance_there_is(schema: Schema, draw: Draw) -> None:
    """Also of a release with no more certified rows than the window has."""
    trends = Trends(View(schema, draw(4_096, 0)))
    for part in range(20):
        trends.add(trends.view(draw(500, part)))
    found = trends.now()
    assert all(found[name].deviation > 0 for name in ("modes", "vendi", "entropy", "extremes"))
    assert all(abs(t.value - t.baseline) < 6 * t.deviation for n, t in found.items() if t.deviation > 0), found
    assert sum(map(len, trends.parts)) < 2_048 + 500, "and no more rows are held than are looked at"


@pytest.mark.parametrize(
    ("fault", "fallen"),
    [
        ("numbers come from the middle", ["modes", "vendi", "entropy", "extremes"]),
        ("half of the towns are gone", ["coverage", "rare_recall", "entropy"]),
        ("rows repeat", ["distinct", "rare_recall"]),
    ],
)
def test_trends_fall_with_diversity(view: View, draw: Draw, fault: str, fallen: list[str]) -> None:
    trends = Trends(view)
    trends.add(view(FAULTS[fault](draw)))
    found = trends.now()
    for name in fallen:
        assert found[name].value < found[name].baseline - 4 * found[name].deviation, name
