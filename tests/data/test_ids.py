from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.data.ids import fresh_ids, texts
from synth.data.schema import Column
from synth.errors import UserError

ID = Column(name="id", kind="id", dtype="string")


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        (r"[A-C]\d", 30), (r"(a|bc)[xy]{1,2}", 12), (r"ID-\d{3}", 1000), (r"^x?$", 2), (r"[^\d]", 84), (r"\w\s", 63),
        ("(?:p|q)+", sum(2**n for n in range(1, 10))),
    ],
)  # fmt: skip
def test_each_text_of_a_pattern_is_made_once(pattern: str, count: int) -> None:
    found = fresh_ids(ID, pattern, 0, count).to_pylist()
    assert len(set(found)) == count == texts(pattern)[0]
    assert all(re.fullmatch(pattern, text) for text in found)
    with pytest.raises(UserError, match=f"matches only {count:,} texts"):
        fresh_ids(ID, pattern, 1, count)


@given(st.integers(0, 10**6), st.integers(0, 50))
def test_an_id_depends_on_its_row_alone(first: int, rows: int) -> None:
    pattern = r"[A-Z]{2}-\d{6}"
    alone = pa.concat_arrays(
        [fresh_ids(ID, pattern, row, 1) for row in range(first, first + rows)] or [pa.array([], pa.string())]
    )
    assert fresh_ids(ID, pattern, first, rows).equals(alone)


def test_without_a_pattern_ids_are_row_numbers() -> None:
    assert fresh_ids(ID, None, 7, 2).to_pylist() == ["7", "8"]


@pytest.mark.parametrize("pattern", [r"(a)\1", r"(?=a)a", r"[\D]", "("])
def test_what_has_no_list_is_refused(pattern: str) -> None:
    with pytest.raises(UserError, match=r"ids cannot be made|no regular expression"):
        texts(pattern)
