"""The ``artesian`` command's words for drawing: sample and fill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from synth.errors import UserError

if TYPE_CHECKING:
    from synth.asking import Request
    from synth.progress import Display

Seed = Annotated[int, typer.Option(min=0, help="the same seed gives the same result")]
Format = Annotated[
    str | None, typer.Option(help="parquet, csv, ndjson or arrow, and png for images [default: by the name]")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="replace what is at --out")]
WhereClause = typer.Option(
    "--where", metavar="CLAUSE", help="a condition that every row meets, such as 'age>=65'; several hold together"
)
BalanceBy = typer.Option(metavar="COL", help="classes in equal shares, or in those of 'COL: A=0.3, B=0.7'")


def count(text: str) -> int:
    """``5000``, ``5_000`` or ``1e9``."""
    try:
        rows = float(text)
    except ValueError:
        rows = -1.0
    if not (rows >= 0 and rows.is_integer()):
        raise typer.BadParameter(f"{text!r} is no number of rows: write 5000 or 1e9")
    return int(rows)


def sample_command(
    release: Annotated[str, typer.Argument(help="folder or URI of a release")],
    rows: Annotated[int, typer.Option("-n", "--rows", metavar="N", parser=count, help="number of rows, such as 5000 or 1e9")],
    out: Annotated[str, typer.Option(metavar="FILE|FOLDER/|-", help="file, folder or URI; - is standard output")],
    where: Annotated[list[str] | None, WhereClause] = None,
    balance: Annotated[str | None, BalanceBy] = None,
    rare: Annotated[list[str] | None, typer.Option(metavar="CLAUSE", help="an event to draw --boost times as often")] = None,
    boost: Annotated[float | None, typer.Option(metavar="20", help="how many times as often the rare event is drawn")] = None,
    seed: Seed = 0, format: Format = None,
    quality: Annotated[Literal["best", "fast"], typer.Option(help="fast: by a student, many times as many a second")] = "best",
    address: Annotated[str | None, typer.Option(metavar="URI", help="a Ray cluster to draw on; into a folder")] = None,
    c2pa: Annotated[bool, typer.Option("--c2pa", help="sign each image with content credentials; with --format png")] = False,
    overwrite: Overwrite = False,
    watermark: Annotated[bool, typer.Option("--watermark", help="have rows known again here; takes twice the time")] = False,
) -> None:  # fmt: skip
    """Draw rows from a release; memory does not grow with their number.

    Conditions are COLUMN=VALUE, !=, <, <=, > or >=, COLUMN in (A, B), COLUMN not in (A, B), COLUMN is [not] missing. With
    --balance or --rare, the column _weight says how many of the model's rows each row stands for.

    With --watermark, each row is the one of two that a secret key of yours likes better: a thousand of them are enough for
    artesian lineage, and training, to tell here that they were drawn, whatever became of their file. Without it, too, the rows
    are logged as fingerprints for that; ARTESIAN_ROW_LOG=off logs none.

    Into a folder (--out ends with /) they are drawn by all cores, or a cluster's, as Parquet parts; the same command goes
    on where it was stopped. Images are PNG files: in a column of Parquet or Arrow or, with --format png, in a folder, each
    class in one of its own. With --c2pa each of these says in the words of C2PA that a model drew it, and which.
    """
    from cluster import storage
    from synth import parts
    from synth import release as releases
    from synth.data import image_sink, sink
    from synth.data.location import BESIDE
    from synth.marking import mark_of
    from synth.progress import Display, counted
    from synth.provenance import credentials
    from synth.provenance.origin import Signed
    from synth.provenance.served import logged
    from synth.sampling import Sampler

    if (rare is None) != (boost is None):
        raise UserError("--rare and --boost belong together, as in --rare 'capital.gain>50000' --boost 20")
    pngs = format == "png"
    if c2pa and not pngs:
        raise UserError("--c2pa: signs files of images; draw them with --format png --out FOLDER/")
    folder = out.endswith("/") and not pngs
    if folder and format not in (None, "parquet"):
        raise UserError(f"--format {format}: a folder gets Parquet parts; give a file for other formats")
    if pngs and (address is not None or out == "-"):
        raise UserError("--format png: draws here, into a folder; for a cluster or standard output write parquet")
    if pngs and storage.exists(out):  # whose files may be anybody's, so --overwrite replaces none
        place = storage.without_credentials(out)
        raise UserError(f"{place}: exists, and a folder of images is not replaced; choose another --out, or remove it")
    if address is not None and not folder:
        raise UserError(f"--address: a cluster draws into a folder; write --out {out}/")
    chosen = "parquet" if folder else "png" if pngs else _format(out, format, overwrite)
    loaded, request = releases.load(release), None
    image_sink.check(loaded.schema, chosen)
    mark = mark_of(loaded) if watermark else None
    plain = not (where or balance or rare) and quality == "best"
    sampler = None if folder and plain else Sampler.from_release(loaded, mark)
    if sampler is not None:
        request = sampler.ask(
            where=where, balance=balance, rare=rare, boost=1.0 if boost is None else boost, quality=quality
        )
    if pngs and request is not None and request.weights is not None:
        raise UserError("--format png: a folder of images has no place for their weights; write parquet")
    given: dict[str, Any] = {"where": where, "balance": balance, "rare": rare, "boost": boost}
    given |= {} if quality == "best" else {"quality": quality}
    words = {name: value for name, value in given.items() if value}
    key = None if request is None else request.key
    seal = credentials.seal(loaded.manifest, seed, key) if c2pa else None

    def signed(first: int, count: int) -> Signed:
        return Signed.of(loaded.manifest, seed=seed, first=first, rows=count, key=key, asked=words, mark=mark)

    place = "standard output" if out == "-" else storage.without_credentials(out)
    with Display() as display:
        _tell(request, display)
        if sampler is None or folder:
            drawn = parts.sample(
                loaded, rows, out, seed=seed, request=request, signed=signed, address=address, overwrite=overwrite,
                progress=lambda done: display("sampling", done / max(rows, 1), {}), mark=mark,
            )  # fmt: skip
            done = f"{rows:,} rows are in {place}: {drawn} parts drawn, the others were there"
        else:
            drawn_now = logged(loaded, sampler.batches(rows, seed=seed, request=request), seed, key)
            batches = counted(drawn_now, rows, display)
            if pngs:
                with storage.staged_directory(out) as target:
                    image_sink.write_folder(batches, sampler.schema, target, seal)
                    storage.write_bytes(storage.append(out, BESIDE), signed(0, rows).beside)
                done = f"{rows:,} images are in {place}"
            else:
                origin = signed(0, rows)
                arrow = origin.into(image_sink.file_schema(sampler.arrow(request), sampler.schema))
                beside = origin.beside if chosen in sink.PLAIN and out != "-" else None
                written = sink.write(image_sink.encoded(batches, sampler.schema), arrow, out, chosen, beside)
                done = f"{written:,} rows written to {place}"
    display.console.print(done, soft_wrap=True)


def fill_command(
    data: Annotated[str, typer.Argument(help="the table with gaps: a file, folder, glob or URI")],
    release: Annotated[str, typer.Option(metavar="REL", help="folder or URI of the release that fills them")],
    out: Annotated[str, typer.Option(metavar="FILE|-", help="file or URI; - is standard output")],
    seed: Seed = 0, format: Format = None, overwrite: Overwrite = False,
) -> None:  # fmt: skip
    """Fill the missing cells of a table, and the columns that it lacks, by draws from a release given what is known.

    Known values stay exactly as they are, and so do columns that the release has not learnt. Memory does not grow with the
    number of rows; one machine fills a table, not a cluster. What comes of it says so, as samples do: it is no table of real
    rows any more.
    """
    from cluster import storage
    from synth import release as releases
    from synth.data import sink
    from synth.data.source import open_source
    from synth.filling import Filling
    from synth.progress import Display, counted
    from synth.sampling import Sampler

    chosen = _format(out, format, overwrite)
    loaded = releases.load(release)
    sampler = Sampler.from_release(loaded)
    source = open_source(data, batch_rows=8192, as_text=sampler.schema.text_columns)
    filling = Filling(sampler, source, seed)
    if storage.is_remote(out) and storage.resolve(out) == storage.resolve(data):  # it is gone before it is read
        raise UserError(f"{source.location}: is the table that is to be filled; choose another --out")
    origin = filling.origin(loaded.manifest)
    beside = origin.beside if chosen in sink.PLAIN and out != "-" else None
    with Display() as display:
        batches = counted(filling.batches(), source.rows(), display)
        written = sink.write(batches, origin.into(filling.schema), out, chosen, beside)
    for note in filling.notes:
        display.console.print(f"note: {note}")
    place = "standard output" if out == "-" else storage.without_credentials(out)
    display.console.print(f"{written:,} rows written to {place}", soft_wrap=True)


def _tell(request: Request | None, display: Display) -> None:
    for line in request.told if request is not None else ():
        display.console.print(line, highlight=False, soft_wrap=True)


def _format(out: str, format: str | None, overwrite: bool) -> str:
    """The format to write; UserError where there is something at ``out`` already."""
    from cluster import storage
    from synth.data import sink

    chosen = sink.format_of(out, format)
    if out != "-" and not overwrite and storage.is_file(out):  # perhaps the real table
        place = storage.without_credentials(out)
        raise UserError(f"{place}: exists; choose another --out, or replace it with --overwrite")
    return chosen
