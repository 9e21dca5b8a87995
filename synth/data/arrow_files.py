"""Files that carry their types: Parquet, Arrow IPC / Feather and ORC, read through PyArrow datasets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import pyarrow as pa
import pyarrow.dataset as ds

from synth.data.location import Files, reading
from synth.data.schema import check_names, chosen, holds_file, index_notes, pandas_index, plain_type, rows_of_batch
from synth.errors import UserError

FORMATS = {"parquet": ds.ParquetFileFormat, "ipc": ds.IpcFileFormat, "orc": ds.OrcFileFormat}
# A scan reads this many batches ahead; the default of 16 holds a wide table's row groups in memory many times over.
READAHEAD = 2


class ArrowFiles:
    """A table in self-describing files.

    Files may order their columns differently and differ in the width of a number; anything else that differs is an
    error naming file and column. ``key=value`` folders become columns, as Hive writes them.
    """

    def __init__(self, files: Files, columns: Sequence[str] | None, batch_rows: int) -> None:
        self.files = files
        schema: pa.Schema | None = None
        self.notes: list[str] = []
        self.metadata: list[dict[bytes, bytes]] = []  # of each file
        index: set[str] = set()
        form = FORMATS[files.format]()
        for path in files.paths:
            with reading(files.name(path)):
                physical = form.inspect(path, filesystem=files.filesystem)
            check_names(physical.names, files.name(path))
            self.metadata.append(dict(physical.metadata or {}))
            index |= pandas_index(physical)
            plain = pa.schema([pa.field(f.name, plain_type(f.type)) for f in physical if f.name not in index])
            schema = plain if schema is None else _unify(schema, plain, files.name(path), files.name(files.paths[0]))
        assert schema is not None
        # Hive folders are found by the factory, which looks at paths only once it is given a schema.
        options = ds.FileSystemFactoryOptions(
            partition_base_dir=files.folder or "", partitioning=ds.HivePartitioning.discover()
        )
        factory = ds.FileSystemDatasetFactory(files.filesystem, list(files.paths), form, options)
        with reading(files.name(files.paths[0])):
            found = factory.inspect(promote_options="permissive")
        self.notes += index_notes(index, files.name(files.paths[0]))
        known = {*schema.names, *index}
        extra = [pa.field(f.name, plain_type(f.type)) for f in found if f.name not in known]
        structs = {f.name: f for f in found if holds_file(f.type)}
        self._dataset = factory.finish(pa.schema([structs.get(f.name, f) for f in [*schema, *extra]]))
        self._structs = set(structs)
        order = {path: at for at, path in enumerate(files.paths)}
        self._fragments = sorted(self._dataset.get_fragments(), key=lambda fragment: order[fragment.path])
        names = set(chosen(self._dataset.schema.names, columns, files.name(files.paths[0])))
        self.schema = pa.schema([f for f in [*schema, *extra] if f.name in names])
        self.batch_rows = rows_of_batch(batch_rows, self.schema)
        self.counts = []
        for fragment in self._fragments:
            with reading(files.name(fragment.path)):
                self.counts.append(fragment.count_rows())

    def units(self) -> list[int]:
        return [rows for _, _, rows in self._units]

    @cached_property
    def _units(self) -> list[tuple[int, int | None, int]]:
        """Of each unit its fragment, its row group (None: the fragment has no such) and its rows."""
        found: list[tuple[int, int | None, int]] = []
        for index, (fragment, rows) in enumerate(zip(self._fragments, self.counts, strict=True)):
            groups = fragment.row_groups if isinstance(fragment, ds.ParquetFileFragment) else []
            found += [(index, group.id, group.num_rows) for group in groups] or [(index, None, rows)]
        return found

    def batches(self, units: slice = slice(None)) -> Iterator[pa.RecordBatch]:
        columns = {n: ds.field(n) for n in self.schema.names}
        columns |= {n: ds.field(n, "bytes").cast(pa.binary()) for n in columns if n in self._structs}
        for index, group, _ in self._units[units]:
            fragment = self._fragments[index]
            if group is not None:  # one at a time: a scan holds the bytes of all its row groups until it ends
                fragment = fragment.subset(row_group_ids=[group])
            with reading(self.files.name(fragment.path)):
                yield from fragment.to_batches(
                    schema=self._dataset.schema,
                    columns=columns,
                    batch_size=self.batch_rows,
                    batch_readahead=READAHEAD,
                )


def _unify(first: pa.Schema, other: pa.Schema, name: str, first_name: str) -> pa.Schema:
    same_columns(first.names, other.names, name, first_name)
    fields = []
    for field in first:
        pair = [pa.schema([field]), pa.schema([other.field(field.name)])]
        try:
            fields.append(pa.unify_schemas(pair, promote_options="permissive").field(0))
        except pa.ArrowTypeError as error:
            raise UserError(
                f"{name}: column '{field.name}' holds {other.field(field.name).type}, but {field.type} in "
                f"{first_name}. Write the files with one schema."
            ) from error
    return pa.schema(fields)


def same_columns(first: Sequence[str], other: Sequence[str], name: str, first_name: str) -> None:
    """UserError unless both files have the same columns, in any order."""
    if missing := [c for c in first if c not in other]:
        raise UserError(f"{name}: column '{missing[0]}' is missing, which {first_name} has. Use files of one schema.")
    if extra := [c for c in other if c not in first]:
        raise UserError(f"{name}: column '{extra[0]}' is not in {first_name}. Use files of one schema.")
