"""What the columns of a table are: kinds, roles, precision, ranges.

A schema says what a column means, never how a model sees it (that is the codec's business). It is inferred from the
source, printed, editable as YAML and stored in every release.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from typing import Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from synth.errors import UserError

Kind = Literal["numerical", "categorical", "boolean", "datetime", "id", "text", "image"]


class Column(BaseModel):
    """One column of a source.

    ``dtype`` is the Arrow type in which samples are returned, spelled as Arrow prints it (``int64``, ``double``,
    ``string``, ``timestamp[us]``, ``decimal128(10, 2)``). ``decimals`` is the number of decimal places that all
    observed values share; None for a continuous column of full floating-point precision, 0 for whole numbers.
    Strings of ISO dates are datetimes: their ``dtype`` is the timestamp or date that holds them, not string. An image is
    its pixels, one byte a channel, in the order of ``shape``: (height, width, channels).
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    kind: Kind
    dtype: str
    nullable: bool = False
    decimals: int | None = None
    shape: tuple[int, int, int] | None = None

    @field_validator("dtype")
    @classmethod
    def _known_dtype(cls, dtype: str) -> str:
        arrow_type(dtype)
        return dtype

    @model_validator(mode="after")
    def _kind_fits_dtype(self) -> Self:
        fits = FITS.get(self.kind)
        if fits is not None and not any(test(arrow_type(self.dtype)) for test in fits):
            raise ValueError(f"a {self.kind} column cannot have dtype {self.dtype}")
        if self.kind == "image" and (self.shape is None or arrow_type(self.dtype).byte_width != math.prod(self.shape)):
            raise ValueError(f"an image of shape {self.shape} does not have dtype {self.dtype}")
        return self


SHOWN = 20  # columns of a kind that a summary names


class Schema(BaseModel):
    """The columns of a table in their order, the column that models predict, and what was left out on request.

    ``constraints`` hold in every row, as ``synth.data.constraints`` reads them.
    ``notes`` are sentences about what inference took for granted and a person may want otherwise.
    """

    model_config = ConfigDict(extra="forbid")

    columns: list[Column]
    target: str | None = None
    excluded: list[str] = Field(default_factory=list)
    constraints: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_names(self.names, "schema")
        if self.target is not None:
            self[self.target]
        return self

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.columns]

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise UserError(f"there is no column '{name}'.{nearest(name, self.names)}")

    def of_kind(self, *kinds: Kind) -> list[str]:
        """Names of the columns of the given kinds, in table order."""
        return [c.name for c in self.columns if c.kind in kinds]

    @property
    def image(self) -> str | None:
        """The column of images, of which there is one at most."""
        return next(iter(self.of_kind("image")), None)

    def summary(self) -> list[str]:
        """A line for each kind that there is, with its columns, the first few of many; then the target."""
        lines = []
        for kind in dict.fromkeys(c.kind for c in self.columns):
            names = self.of_kind(kind)
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            lines.append(f"{kind}: {', '.join(names[:SHOWN])}{more}")
        return [*lines, f"target: {self.target}"] if self.target is not None else lines

    @property
    def learnt(self) -> list[Column]:
        """Columns that a generator models; ids are regenerated instead."""
        return [c for c in self.columns if c.kind not in ("id", "text")]

    @property
    def task(self) -> Literal["classification", "regression"] | None:
        """What predicting the target is: regression for a number or a date, classification otherwise."""
        if self.target is None:
            return None
        return "regression" if self[self.target].kind in ("numerical", "datetime") else "classification"

    @property
    def text_columns(self) -> list[str]:
        """Names of the columns that hold text, whatever another file's values of them look like."""
        return [c.name for c in self.columns if c.dtype == "string"]

    def arrow(self) -> pa.Schema:
        """The Arrow schema of sampled tables."""
        return pa.schema([pa.field(c.name, arrow_type(c.dtype)) for c in self.columns])

    def to_yaml(self) -> str:
        """The schema as YAML that a person can edit and ``from_yaml`` reads back."""
        return yaml.safe_dump(self.model_dump(exclude_none=True), sort_keys=False, allow_unicode=True, width=120)

    @classmethod
    def from_yaml(cls, text: str, where: str = "schema") -> Schema:
        """Read a schema; ``where`` is the file's name for messages.

        Raises UserError naming the line of broken YAML, an unknown key with the nearest known one, or a wrong value.
        """
        try:
            return cls.model_validate(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise UserError(f"{where}: is not YAML ({' '.join(str(error).split())}).") from error
        except ValidationError as error:
            # A mistyped key is also a missing one; the mistyping is what helps.
            first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
            key = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                model = Column if first["loc"][0] == "columns" else cls
                known = nearest(str(first["loc"][-1]), model.model_fields)
                raise UserError(f"{where}: unknown key '{key}'.{known}") from error
            message = first["msg"].removeprefix("Value error, ")
            raise UserError(f"{where}: {key + ': ' if key else ''}{message}") from error


_PLAIN = (
    pa.null(), pa.bool_(), pa.string(), pa.date32(), pa.date64(), pa.float16(), pa.float32(), pa.float64(),
    pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
)  # fmt: skip
_TYPES = {str(t): t for t in _PLAIN}
_TIMESTAMP = re.compile(r"timestamp\[(s|ms|us|ns)(?:, tz=(.+))?\]")
_PIXELS = re.compile(r"fixed_size_binary\[([1-9]\d*)\]")
_DECIMAL = re.compile(r"decimal(32|64|128|256)\((\d+), (-?\d+)\)")


def arrow_type(spelling: str) -> pa.DataType:
    """The Arrow type that prints as ``spelling``; UserError for one that no column of a table can have here."""
    if spelling in _TYPES:
        return _TYPES[spelling]
    if match := _TIMESTAMP.fullmatch(spelling):
        return pa.timestamp(match[1], match[2])
    if match := _PIXELS.fullmatch(spelling):
        return pa.binary(int(match[1]))
    if match := _DECIMAL.fullmatch(spelling):
        return getattr(pa, f"decimal{match[1]}")(int(match[2]), int(match[3]))
    known = [*_TYPES, "timestamp[us]", "decimal128(10, 2)"]
    raise UserError(f"no column can have dtype '{spelling}'.{nearest(spelling, known)}")


IMAGE_ROWS = 256  # rows of a batch that holds images
BATCH_VALUES, LEAST_ROWS = 1 << 23, 1_024  # rows × columns of a batch, at most, if that leaves so many rows


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type in which batches carry a column: dictionaries decoded, one type for all widths of string and of bytes, and
    no half floats, with which Arrow does not compute. Of a struct of an image's bytes and its path, the bytes."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind) or holds_file(kind):
        return pa.binary()
    return pa.string() if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else kind


def rows_of_batch(most: int, schema: pa.Schema) -> int:
    """``most`` rows, or fewer of a table that is so wide that its batches would be large beside what is made of them."""
    if any(pa.types.is_binary(f.type) for f in schema):
        return min(most, IMAGE_ROWS)
    return min(most, max(LEAST_ROWS, BATCH_VALUES // max(1, len(schema))))


def holds_file(kind: pa.DataType) -> bool:
    """Whether an Arrow type is the struct in which tables of images keep a file: its bytes, and the path that it had."""
    return bool(pa.types.is_struct(kind)) and {f.name for f in kind} == {"bytes", "path"}


def file_bytes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column without the paths of its files, where it holds such; they are never opened."""
    return pc.struct_field(column, "bytes") if holds_file(column.type) else column


def is_number(kind: pa.DataType) -> bool:
    """Whether an Arrow type holds numbers; booleans are none."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


FITS = {
    "numerical": (is_number,),
    "boolean": (pa.types.is_boolean,),
    "datetime": (pa.types.is_timestamp, pa.types.is_date),
    "text": (pa.types.is_string,),
    "image": (pa.types.is_fixed_size_binary,),
}


def nearest(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` with the known name closest to ``name``, or nothing where none is close."""
    names = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    return f" Did you mean '{names[close[0]]}'?" if close else ""


def check_names(names: Sequence[str], where: str) -> None:
    """UserError unless column names are unique and not blank."""
    seen: dict[str, int] = {}
    for position, name in enumerate(names, start=1):
        if not name.strip():
            raise UserError(
                f"{where}: column {position} has no name. Name it, or drop it if it is a row number "
                "(pandas: to_csv(..., index=False))."
            )
        if name in seen:
            raise UserError(f"{where}: columns {seen[name]} and {position} are both named '{name}'. Rename one.")
        seen[name] = position


def pandas_index(schema: pa.Schema) -> set[str]:
    """The columns in which pandas has written an index that has no name; one with a name is a column like any other."""
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    return {name for name in index if isinstance(name, str) and re.fullmatch(r"__index_level_\d+__", name)}


def index_notes(index: Iterable[str], where: str) -> list[str]:
    told = "which pandas wrote for the rows' index; give that a name to have it learnt"
    return [f"{where}: '{name}' was left out, {told}" for name in sorted(index)]


def chosen(names: Sequence[str], columns: Sequence[str] | None, where: str) -> list[str]:
    """The names that are among ``columns``, in table order, all for None; UserError for a column that is not there."""
    for column in columns or ():
        if column not in names:
            raise UserError(f"{where}: has no column '{column}'.{nearest(column, names)}")
    wanted = None if columns is None else set(columns)
    return [name for name in names if wanted is None or name in wanted]
