"""What one pass over a column's values tells of it, in bounded memory."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synth.data.conform import Place, cast, refuse_infinity, show, without_nan
from synth.data.hashing import hash_values
from synth.data.numbers import EXACT
from synth.data.schema import Kind, is_number
from synth.data.sketch import DistinctSketch
from synth.data.text_type import TextType, matches
from synth.errors import UserError

MOST_DECIMALS = 9
NEARLY = 0.98  # of the values distinct: unique but for slips, and for the sketch's 0.4 %
UUID = r"^\{?[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}\}?$"
ID_NAME = re.compile(r"(^|[^A-Za-z])([iI][dD]|[uU][uU][iI][dD]|[gG][uU][iI][dD])$|[a-z0-9](Id|ID)$")


class Profile:
    """One column's counts, range, precision and looks, updated batch by batch.

    ``forced`` is the kind that the user demands; strings forced to be numbers are profiled as the numbers they spell.
    """

    def __init__(self, name: str, dtype: pa.DataType, forced: Kind | None) -> None:
        self.name = name
        self.spelt = forced == "numerical" and _is_text(dtype)
        self.dtype = pa.float64() if self.spelt else dtype
        self.forced = forced
        self.rows = 0
        self.missing = 0
        self.distinct = DistinctSketch()
        self.example: str | None = None
        self.minimum: int | float | None = None
        self.maximum: int | float | None = None
        self.text = TextType()
        self._decimals: int | None = 0
        self._characters = 0
        self._words = 0
        self._uuid = True

    def update(self, array: pa.Array, first_row: int, place: Place) -> None:
        """Look at one batch of the column; ``place`` says where the batch's rows stand.

        Raises UserError for an infinity, and for a string that is no number or date where that is demanded.
        """
        array = cast(array, self.dtype, self.name, place) if self.dtype != array.type else without_nan(array)
        if self.forced not in ("categorical", "id"):
            refuse_infinity(array, self.name, place)
        present = array.drop_null()
        self.rows += len(array)
        self.missing += array.null_count
        if len(present) == 0:
            return
        self.example = show(present[0]) if self.example is None else self.example
        self.distinct.update(hash_values(present))
        if _is_text(self.dtype):
            self._update_text(array, present, first_row)
            if self.forced == "datetime" and (other := self.text.first_no_date) is not None:
                raise UserError(
                    f"{place(other[0] - first_row)}: column '{self.name}' should hold dates, but here stands "
                    f"'{other[1]}'. Write dates as 2024-12-31 or 2024-12-31T23:59:59, or leave out --datetime."
                )
        elif is_number(self.dtype):
            self._update_number(present)

    def merge(self, later: Profile) -> None:
        """Add what ``later`` has seen of the same column in the rows after these."""
        self.rows += later.rows
        self.missing += later.missing
        self.distinct.merge(later.distinct)
        self.example = self.example if self.example is not None else later.example
        if later.minimum is not None and later.maximum is not None:
            self._widen(later.minimum, later.maximum)
        self.text.merge(later.text)
        if self._decimals is not None:
            self._decimals = None if later._decimals is None else max(self._decimals, later._decimals)
        self._characters += later._characters
        self._words += later._words
        self._uuid = self._uuid and later._uuid

    def _update_text(self, array: pa.Array, present: pa.Array, first_row: int) -> None:
        self.text.update(array, first_row)
        self._characters += pc.sum(pc.utf8_length(present)).as_py()
        self._words += pc.sum(pc.count_substring_regex(present, r"\S+")).as_py()
        self._uuid = self._uuid and bool(matches(present, UUID).all())

    def _update_number(self, present: pa.Array) -> None:
        self._widen(*pc.min_max(present).as_py().values())
        if pa.types.is_floating(self.dtype) and self._decimals is not None:
            self._decimals = _decimal_places(present.to_numpy(), self._decimals)

    def _widen(self, low: float, high: float) -> None:
        self.minimum = low if self.minimum is None else min(self.minimum, low)
        self.maximum = high if self.maximum is None else max(self.maximum, high)

    @property
    def values(self) -> int:
        """How many values are not missing."""
        return self.rows - self.missing

    @property
    def nearly_unique(self) -> bool:
        return self.distinct.estimate >= NEARLY * self.values

    @property
    def decimals(self) -> int | None:
        """Decimal places of a number column, as ``Column.decimals`` has it."""
        if pa.types.is_decimal(self.dtype):
            return max(int(self.dtype.scale), 0)
        if self._decimals is None or self.minimum is None or self.maximum is None:
            return self._decimals
        # A column that has both tiny steps and huge values shares no precision that a double could keep.
        largest = max(abs(self.minimum), abs(self.maximum)) * 10**self._decimals
        fits = pa.types.is_integer(self.dtype) or largest < _exact(self.dtype.to_pandas_dtype())
        return self._decimals if fits else None

    @property
    def too_fine(self) -> bool:
        """Whether a whole or decimal number's range has more steps than a double tells apart."""
        if self.minimum is None or self.maximum is None or pa.types.is_floating(self.dtype):
            return False
        if pa.types.is_decimal(self.dtype):
            # A decimal goes through a double, and its scaling rounds once more: that takes two binary digits.
            return bool(max(abs(self.minimum), abs(self.maximum)) * 10 ** (self.decimals or 0) >= EXACT // 4)
        return bool(self.maximum - self.minimum >= EXACT)

    @property
    def looks_like_id(self) -> bool:
        """Unique, and consecutive whole numbers, UUIDs, or named as ids are; a measurement may be unique, too."""
        if not self.nearly_unique or not (pa.types.is_integer(self.dtype) or _is_text(self.dtype)):
            return False
        if ID_NAME.search(self.name):
            return True
        if _is_text(self.dtype):
            return self._uuid
        assert self.minimum is not None
        assert self.maximum is not None
        return bool(self.maximum - self.minimum + 1 <= self.values / NEARLY)

    @property
    def mean_characters(self) -> float:
        return self._characters / self.values

    @property
    def mean_words(self) -> float:
        return self._words / self.values


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind))


def _exact(kind: type[np.floating]) -> int:
    return 1 << (int(np.finfo(kind).nmant) + 1)


def _decimal_places(values: np.ndarray, at_least: int) -> int | None:
    """The fewest decimal places, ``at_least`` or more, that print every value exactly; None if nine don't do.

    A quotient of two exact doubles is the double nearest to the decimal fraction, so the test below is exact as long
    as the numerator is; beyond that, and in float32 far sooner, every value would pass.
    """
    wide = values.astype(np.float64)
    for places in range(at_least, MOST_DECIMALS + 1):
        steps = np.rint(wide * 10.0**places)
        if np.abs(steps).max() >= _exact(values.dtype.type):
            return None
        if ((steps / 10.0**places).astype(values.dtype) == values).all():
            return places
    return None
