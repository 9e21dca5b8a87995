"""The schema of a source, from one pass over it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import pyarrow as pa

from synth.data.consistency import check_consistent
from synth.data.passes import Pass, here
from synth.data.profile import Profile
from synth.data.reduction import Reduction
from synth.data.schema import Column, Kind, Schema, is_number, nearest
from synth.data.source import Piece, Source
from synth.data.survey import Survey, image_column
from synth.errors import UserError

MINIMUM_ROWS = 20
MOST_CATEGORIES = 2**20
# Strings are free text if they read like sentences and hardly repeat.
TEXT_WORDS, TEXT_CHARACTERS, TEXT_DISTINCT = 3, 20, 0.8
# A whole-number target with so few values may be a class in disguise, which is worth a note.
FEW_CLASSES = 20


def infer(
    source: Source,
    *,
    target: str | None = None,
    categorical: Sequence[str] = (),
    numerical: Sequence[str] = (),
    datetime: Sequence[str] = (),
    ids: Sequence[str] = (),
    exclude: Sequence[str] = (),
    constraints: Sequence[str] = (),
    size: int | None = None,
    over: Pass = here,
) -> Schema:
    """Find each column's kind, type and precision in one pass, ``over`` which see ``synth.data.passes``; the options
    force kinds and leave columns out.

    A column of bytes holds images, which become squares of ``size`` pixels a side, or keep the size that all have.
    Another column beside them is their class, and the target.

    Booleans are boolean; numbers numerical; timestamps, dates and strings of ISO dates datetime; other strings
    categorical, with as many categories as it takes up to ``MOST_CATEGORIES``. Ids are columns unique in nearly every
    row that hold consecutive whole numbers or UUIDs, or whose name ends in id. A column without any value is
    categorical. A target of two whole numbers is categorical. NaN is missing.
    What was taken for granted stands in the schema's ``notes``.

    Raises UserError, naming column and remedy, for unknown or twice-named columns, free text, nested types,
    infinities, integers too far apart for a double, strings that are not what an option says, too few rows
    (``MINIMUM_ROWS``), a target that is absent, constant, or an id, and ``constraints`` that cannot be; for images that
    ``survey`` refuses, and for more beside them than a class.
    """
    forced = _forced(source, categorical, numerical, datetime, ids)
    _known(source, "--exclude", exclude)
    if target is not None:
        _known(source, "--target", [target])
    for name in exclude:
        if name in forced or name == target:
            raise UserError(f"column '{name}' is both excluded and named as {forced.get(name, 'the target')}: choose.")
    fields = [field for field in source.schema if field.name not in exclude]
    if not fields:
        raise UserError(f"{source.location}: every column is excluded. Keep at least one.")
    if source.rows() < MINIMUM_ROWS:
        raise UserError(
            f"{source.location}: has {source.rows()} row{'s' if source.rows() != 1 else ''}; at least {MINIMUM_ROWS} "
            "are needed to learn from and to test on. Bring more data."
        )
    for field in fields:
        _supported(field)
    image = image_column(fields, forced, target, constraints)

    profiles, survey = _profile(source, fields, forced, image, over)
    notes = list(source.notes)
    if source.rows() < len(fields):
        notes.append(f"{source.rows()} rows are fewer than {len(fields)} columns: expect little of what is learnt")
    columns, refused = [], []
    if survey is not None:
        survey.check(source.location)
        columns.append(survey.column(source.location, size))
        notes += survey.notes(columns[0])
        target = target or survey.target
    for profile in profiles:
        try:
            columns.append(_decide(profile, profile.name == target, notes))
        except UserError as error:
            refused.append(str(error))
    if refused:
        raise UserError("\n".join(refused))
    if target is not None:
        _check_target(next(p for p in profiles if p.name == target), columns, notes)
    place = {name: at for at, name in enumerate(source.schema.names)}
    columns.sort(key=lambda column: place[column.name])
    if not any(column.kind != "id" for column in columns):
        raise UserError(f"{source.location}: holds ids only ({', '.join(c.name for c in columns)}): nothing to learn.")
    schema = Schema(columns=columns, target=target, excluded=list(exclude), constraints=list(constraints), notes=notes)
    check_consistent(Reduction(schema).constraints)
    return schema


Looks = tuple[list[Profile], Survey | None]  # of the columns but that of images, and of the images


def _profile(source: Source, fields: list[pa.Field], forced: dict[str, Kind], image: str | None, over: Pass) -> Looks:
    beside = [f for f in fields if f.name != image]
    label = next((f.name for f in beside if forced.get(f.name) == "categorical"), None)

    def look(piece: Piece) -> Looks:
        profiles = [Profile(f.name, f.type, forced.get(f.name)) for f in beside]
        survey = None if image is None else Survey(image, label)
        for first, batch in piece.batches():
            for profile in profiles:
                profile.update(batch.column(profile.name), first, piece.place(first))
            if survey is not None:
                survey.update(batch, piece.place(first))
        return profiles, survey

    def merged(so_far: Looks, later: Looks) -> Looks:
        for mine, other in zip(so_far[0], later[0], strict=True):
            mine.merge(other)
        if so_far[1] is not None and later[1] is not None:
            so_far[1].merge(later[1])
        return so_far

    return reduce(merged, over("inferring the schema", look, source.only([f.name for f in fields])))


def _forced(source: Source, *options: Sequence[str]) -> dict[str, Kind]:
    kinds: tuple[Kind, ...] = ("categorical", "numerical", "datetime", "id")
    forced: dict[str, Kind] = {}
    for kind, names in zip(kinds, options, strict=True):
        _known(source, f"--{kind}", names)
        for name in names:
            if name in forced and forced[name] != kind:
                raise UserError(f"column '{name}' is named both --{forced[name]} and --{kind}: choose one.")
            forced[name] = kind
    return forced


def _known(source: Source, option: str, names: Sequence[str]) -> None:
    for name in names:
        if name not in source.schema.names:
            raise UserError(
                f"{option} {name}: {source.location} has no column '{name}'.{nearest(name, source.schema.names)}"
            )


def _supported(field: pa.Field) -> None:
    kind = field.type
    tests = (
        pa.types.is_boolean, is_number, pa.types.is_string, pa.types.is_timestamp, pa.types.is_date, pa.types.is_binary
    )  # fmt: skip
    if not (pa.types.is_null(kind) or any(test(kind) for test in tests)):
        raise UserError(
            f"column '{field.name}' holds {kind}, which is not learnt from: leave it out with --exclude {field.name}, "
            "or write it as numbers, strings or dates."
        )


def _decide(profile: Profile, is_target: bool, notes: list[str]) -> Column:
    """What one column is; adds to ``notes`` where that is a guess."""
    name, dtype = profile.name, profile.dtype
    kind, decimals = _kind(profile, notes), None
    if profile.values == 0:
        notes.append(f"column '{name}' has no values: its samples are missing, too")
    if kind == "numerical":
        if profile.too_fine:
            what = "decimals" if pa.types.is_decimal(dtype) else "whole numbers"
            far = "more than 2^51 units of its last place" if what == "decimals" else "more than 2^53 apart"
            raise UserError(
                f"column '{name}' holds {what} from {profile.minimum} to {profile.maximum}, {far}, which no model "
                f"tells apart: if it identifies rows, name it with --id {name}; if it is a "
                f"category, with --categorical {name}; or leave it out with --exclude {name}."
            )
        decimals = profile.decimals
        if pa.types.is_boolean(dtype) or (profile.spelt and decimals == 0):
            dtype, decimals = pa.int64(), 0
        if is_target and decimals == 0 and profile.forced is None and profile.distinct.estimate <= FEW_CLASSES:
            if profile.distinct.estimate == 2:
                notes.append(f"target '{name}' has two values and was taken as a class; --numerical {name} regresses")
                kind, decimals = "categorical", None
            else:
                notes.append(f"target '{name}' was taken as a number; --categorical {name} makes it a class")
    elif kind == "datetime" and pa.types.is_string(dtype):
        dtype = profile.text.arrow_type
    elif pa.types.is_null(dtype):
        dtype = pa.string()
    elif kind == "id" and not pa.types.is_string(dtype) and dtype != pa.int64():
        notes.append(f"column '{name}' holds {dtype}; its ids are made anew as int64, which no row number overflows")
        dtype = pa.int64()
    return Column(name=name, kind=kind, dtype=str(dtype), nullable=profile.missing > 0, decimals=decimals)


def _kind(profile: Profile, notes: list[str]) -> Kind:
    name, dtype = profile.name, profile.dtype
    if profile.values == 0:
        return "categorical"
    if profile.forced is not None:
        _check_forced(profile)
        return profile.forced
    if pa.types.is_boolean(dtype):
        return "boolean"
    if profile.looks_like_id:
        notes.append(f"column '{name}' was taken as an id, made anew; --categorical or --numerical has it learnt")
        return "id"
    if is_number(dtype):
        return "numerical"
    if pa.types.is_timestamp(dtype) or pa.types.is_date(dtype):
        return "datetime"
    spelt = profile.text.arrow_type
    if pa.types.is_timestamp(spelt) or pa.types.is_date(spelt):
        return "datetime"
    _check_text(profile)
    if is_number(spelt):
        notes.append(f"column '{name}' spells numbers, taken as categories; --numerical {name} reads them as numbers")
    elif profile.nearly_unique:
        notes.append(
            f"column '{name}' hardly repeats, and samples show its real values; --exclude or --id keeps them back"
        )
    return "categorical"


def _check_text(profile: Profile) -> None:
    name, distinct = profile.name, profile.distinct.estimate
    if (
        profile.mean_words >= TEXT_WORDS
        and profile.mean_characters >= TEXT_CHARACTERS
        and distinct >= TEXT_DISTINCT * profile.values
    ):
        raise UserError(
            f"column '{name}' holds free text (mean {profile.mean_characters:.0f} characters, "
            f"{min(distinct / profile.values, 1):.0%} distinct): leave it out with --exclude {name} or, if it is a "
            f"category, name it with --categorical {name}."
        )
    _check_cardinality(profile)


def _check_cardinality(profile: Profile) -> None:
    if profile.distinct.estimate > MOST_CATEGORIES:
        raise UserError(
            f"column '{profile.name}' has about {profile.distinct.estimate:,} distinct values; at most "
            f"{MOST_CATEGORIES:,} are learnt as categories. Leave it out with --exclude {profile.name} or, if it "
            f"identifies rows, name it with --id {profile.name}."
        )


def _check_forced(profile: Profile) -> None:
    """UserError if the column cannot be what the user demands."""
    name, dtype = profile.name, profile.dtype
    if profile.forced == "categorical":
        _check_cardinality(profile)
    elif profile.forced == "numerical" and not (is_number(dtype) or pa.types.is_boolean(dtype)):
        raise UserError(f"--numerical {name}: the column holds {dtype}. Leave the option out, or write it as numbers.")
    elif profile.forced == "datetime" and not (pa.types.is_timestamp(dtype) or pa.types.is_date(dtype)):
        spelt = profile.text.arrow_type
        if not (pa.types.is_timestamp(spelt) or pa.types.is_date(spelt)):
            raise UserError(
                f"--datetime {name}: the column holds {dtype}, or moments with and without a zone. Write all as "
                "2024-12-31, all as 2024-12-31T23:59:59 or all as 2024-12-31T23:59:59Z."
            )


def _check_target(profile: Profile, columns: list[Column], notes: list[str]) -> None:
    name = profile.name
    kind = next(c.kind for c in columns if c.name == name)
    if profile.values == 0:
        raise UserError(f"--target {name}: the column has no values. Name another target.")
    if kind == "id":
        raise UserError(
            f"--target {name}: the column identifies rows, so there is nothing to predict. Name another target, or say "
            f"--categorical {name} or --numerical {name} if it is none."
        )
    if profile.distinct.estimate == 1:
        raise UserError(f"--target {name}: every row has the value '{profile.example}'. Name a column that varies.")
    if profile.missing:
        notes.append(f"target '{name}' is missing in {profile.missing} rows: learnt from, but left out of utility")
