"""What a column of strings holds: whole numbers, numbers, booleans, dates or words.

Arrow guesses from a CSV file's first block; here every value is looked at, in one pass over batches, so that the type
depends neither on block size nor on where the odd value stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?(?i:inf|infinity|nan)$"
INTEGER = r"^-?\d+$"
BOOLEAN = r"^(true|false|True|False|TRUE|FALSE)$"
DATE = r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$"
STAMP = DATE[:-1] + r"[T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?$"
ZONED = r"(Z|[+-]\d{2}:?\d{2})$"
# Codes such as 01234 are names written with digits: reading them as numbers would lose the zero.
PADDED = r"^0\d+$|^0[xX]"
# Whole numbers that a double may not hold.
LONG = r"^[+-]?\d{16,}$"
DECIMAL_COMMA = r"^[+-]?\d+,\d+$"
# A column is meant to be numbers (or dates) if at least this share of its values are; the rest are then mistakes.
MEANT = 0.9
# From this share on it may be, which is worth a note.
MAYBE = 0.5


@dataclass(frozen=True)
class Odd:
    """The first value that does not fit what a column is meant to hold; ``row`` counts from 0 over all batches."""

    row: int
    value: str
    meant: str
    others: int


@dataclass
class _Tally:
    count: int = 0
    first_other: tuple[int, str] | None = None

    def merge(self, later: _Tally) -> None:
        self.count += later.count
        self.first_other = self.first_other or later.first_other


@dataclass
class TextType:
    """Counts of what a string column's values look like; ``arrow_type`` and ``odd`` are the verdict."""

    values: int = 0
    _number: _Tally = field(default_factory=_Tally)
    _date: _Tally = field(default_factory=_Tally)
    _booleans: int = 0
    _stamps: int = 0
    _zoned: int = 0
    _fraction_digits: int = 0
    _years: tuple[str, str] = ("9999", "0000")
    _whole: bool = True
    _padded: bool = False
    _beyond_int64: bool = False
    _beyond_double: bool = False  # whole numbers that an int64 holds and a double does not
    _commas: int = 0

    def update(self, strings: pa.Array, first_row: int) -> None:
        """Look at one batch of strings (nulls are missing), whose first value stands in row ``first_row``."""
        present = strings.drop_null()
        if len(present) == 0:
            return
        only_numbers = self._number.count == self.values
        self.values += len(present)
        if only_numbers and self._numbers_fast(present):
            self._number.count += len(present)
            if self._date.first_other is None:
                self._date.first_other = (first_row + int(pc.index(strings, present[0]).as_py()), present[0].as_py())
            return
        tally = present.value_counts()
        unique, times = tally.field("values"), tally.field("counts").to_numpy()
        trimmed = pc.utf8_trim_whitespace(unique)
        number = matches(trimmed, NUMBER)
        self._count(self._number, number, times, unique, strings, first_row)
        self._whole = self._whole and bool(matches(trimmed, INTEGER)[number].all())
        self._padded = self._padded or bool(matches(trimmed, PADDED).any())
        self._measure(trimmed)
        self._commas += int(times[matches(trimmed, DECIMAL_COMMA)].sum())
        self._booleans += int(times[matches(unique, BOOLEAN)].sum())
        self._dates(unique, times, strings, first_row)

    def merge(self, later: TextType) -> None:
        """Add what ``later`` has seen in the rows after these."""
        self.values += later.values
        self._number.merge(later._number)
        self._date.merge(later._date)
        self._booleans += later._booleans
        self._stamps += later._stamps
        self._zoned += later._zoned
        self._fraction_digits = max(self._fraction_digits, later._fraction_digits)
        self._years = min(self._years[0], later._years[0]), max(self._years[1], later._years[1])
        self._whole = self._whole and later._whole
        self._padded = self._padded or later._padded
        self._beyond_int64 = self._beyond_int64 or later._beyond_int64
        self._beyond_double = self._beyond_double or later._beyond_double
        self._commas += later._commas

    def _numbers_fast(self, present: pa.Array) -> bool:
        """Whether a whole batch casts to numbers; a column of numbers never leaves this path."""
        try:
            whole = present.cast(pa.int64()).to_numpy()
            self._beyond_double = self._beyond_double or not bool(exact_as_double(whole).all())
        except pa.ArrowInvalid:
            try:
                present.cast(pa.float64())
            except pa.ArrowInvalid:
                return False
            self._whole = False
            self._measure(present.filter(pc.greater_equal(pc.binary_length(present), 16)))
        zero = present.filter(pc.starts_with(present, "0"))
        self._padded = self._padded or bool(matches(zero, PADDED).any())
        return True

    def _measure(self, strings: pa.Array) -> None:
        """Note whole numbers that lose digits in a double, and those that an int64 does not hold either."""
        if self._beyond_int64:
            return
        for digits in strings.filter(pa.array(matches(strings, LONG))).to_pylist():
            number = int(digits[:40])  # enough to tell; Python refuses to read thousands
            self._beyond_int64 = self._beyond_int64 or not -(2**63) <= number < 2**63
            self._beyond_double = self._beyond_double or int(float(number)) != number

    @property
    def wide(self) -> bool:
        """Whether no type of number holds every digit: whole numbers beyond int64, or beyond 2^53 beside fractions."""
        return self._beyond_int64 or (self._beyond_double and not self._whole)

    def _dates(self, unique: pa.Array, times: np.ndarray, strings: pa.Array, first_row: int) -> None:
        date, stamp = matches(unique, DATE), matches(unique, STAMP)
        if date.any() or stamp.any():
            # The patterns let 30 February pass; the calendar does not.
            days = pc.utf8_slice_codeunits(unique, 0, 10)
            for index in np.flatnonzero(date | stamp)[_impossible(days.filter(pa.array(date | stamp)))]:
                date[index] = stamp[index] = False
        zoned = stamp & matches(unique, ZONED)
        self._count(self._date, date | stamp, times, unique, strings, first_row)
        self._stamps += int(times[stamp].sum())
        self._zoned += int(times[zoned].sum())
        if stamp.any():
            digits = pc.extract_regex(unique.filter(pa.array(stamp)), r"\.(?P<d>\d+)")
            longest = pc.max(pc.utf8_length(pc.struct_field(digits, "d"))).as_py()
            self._fraction_digits = max(self._fraction_digits, longest or 0)
            years = pc.min_max(pc.utf8_slice_codeunits(unique.filter(pa.array(stamp)), 0, 4)).as_py()
            self._years = min(self._years[0], years["min"]), max(self._years[1], years["max"])

    def _count(
        self, tally: _Tally, fits: np.ndarray, times: np.ndarray, unique: pa.Array, strings: pa.Array, first_row: int
    ) -> None:
        tally.count += int(times[fits].sum())
        if tally.first_other is None and not fits.all():
            value = unique[int(np.argmin(fits))]  # value_counts keeps the order of first appearance
            tally.first_other = (first_row + int(pc.index(strings, value).as_py()), value.as_py())

    @property
    def arrow_type(self) -> pa.DataType:
        """The narrowest type that holds every value without loss; string where there is none or nothing was seen."""
        if self.values == 0 or self._padded or self.wide:
            return pa.string()
        if self._number.count == self.values:
            return pa.int64() if self._whole else pa.float64()
        if self._booleans == self.values:
            return pa.bool_()
        if self._date.count == self.values:
            return self._date_type()
        return pa.string()

    def _date_type(self) -> pa.DataType:
        if self._stamps == 0:
            return pa.date32()
        unit = ("s", "ms", "us", "ns")[-(-self._fraction_digits // 3)]
        if unit == "ns" and not "1677" < self._years[0] <= self._years[1] < "2262":
            return pa.string()  # an int64 of nanoseconds reaches no further, and no coarser unit keeps all digits
        if self._zoned == 0:
            return pa.timestamp(unit)
        # Instants and local times do not compare, so a column of both stays words.
        return pa.timestamp(unit, "UTC") if self._zoned == self.values else pa.string()

    @property
    def first_no_date(self) -> tuple[int, str] | None:
        """Row and value of the first string that is neither an ISO date nor an ISO date with a time."""
        return self._date.first_other

    @property
    def doubt(self) -> str | None:
        """Why a column that became words may have been meant as numbers; None where nothing speaks for it."""
        if self.values == 0 or self._padded or not pa.types.is_string(self.arrow_type):
            return None
        if self.wide and self._number.count == self.values:
            return "holds whole numbers of more digits than numbers keep here"
        if self._commas >= MAYBE * self.values:
            return "writes numbers with a decimal comma; written with a point they are numbers"
        if self._number.count >= MAYBE * self.values:
            assert self._number.first_other is not None
            other = self._number.first_other[1]
            return (
                f"holds numbers in {self._number.count / self.values:.0%} of its values and words such as '{other}' in "
                "the rest; with these cells empty it is a column of numbers"
            )
        return None

    @property
    def odd(self) -> Odd | None:
        """The first value out of line in a column that is meant to hold numbers or dates; None if all is well."""
        if self._padded or self.wide:
            return None
        for tally, meant in ((self._number, "number"), (self._date, "date")):
            others = self.values - tally.count
            if others and tally.count >= MEANT * self.values:
                assert tally.first_other is not None
                return Odd(*tally.first_other, meant, others)
        return None


def matches(strings: pa.Array, pattern: str) -> np.ndarray:
    """Boolean of shape (len(strings),)."""
    return np.asarray(pc.match_substring_regex(strings, pattern).to_numpy(zero_copy_only=False))


def exact_as_double(whole: np.ndarray) -> np.ndarray:
    """Boolean of int64's shape: whether a double holds the number to its last digit."""
    with np.errstate(invalid="ignore"):  # 2^63 - 1 becomes 2^63, which is no int64
        return np.asarray(whole.astype(np.float64).astype(np.int64) == whole)


def _impossible(days: pa.Array) -> list[int]:
    """Indices of well-formed dates that the calendar does not have."""
    try:
        days.cast(pa.date32())
        return []
    except pa.ArrowInvalid:
        if len(days) == 1:
            return [0]
    half = len(days) // 2
    return _impossible(days[:half]) + [half + i for i in _impossible(days[half:])]
