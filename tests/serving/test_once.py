"""Rows that come again are told."""

from serving.monitor.once import Once
from synth.sampling import SMALL


def test_the_same_rows_are_new_once() -> None:
    once = Once()
    assert once.new(1, "", 0, 100) and not once.new(1, "", 0, 100)
    assert once.new(2, "", 0, 100) and once.new(1, "of a request", 0, 100) and once.new(1, None, 0, 100)
    assert once.new(1, "", SMALL, 1) and not once.new(1, "", 0, 10 * SMALL), "a part of them came before"
    assert not once.new(1, "", 5 * SMALL, 1)


def test_it_remembers_the_latest_places_only() -> None:
    once = Once(10)
    for seed in range(30):
        assert once.new(seed, "", 0, 1)
    assert len(once.places) == 10
    assert not once.new(29, "", 0, 1) and once.new(0, "", 0, 1)


def test_another_process_goes_on_from_what_was_remembered() -> None:
    once, again = Once(), Once()
    once.new(1, None, 0, 10 * SMALL)
    again.restore(once.state())
    assert not again.new(1, None, 5 * SMALL, 1) and again.new(1, None, 10 * SMALL, 1)
    assert again.places.keys() > once.places.keys()
