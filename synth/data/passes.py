"""A pass over a source: in this process, or a piece at a time on the cluster.

What is done with a piece is a function of it, and what it returns is merged in the order of the pieces. So a table's
schema, split, codec and encoded rows are found by as many processes as there are, on as many machines.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from synth.data.source import Piece, Source
from synth.errors import JobError, UserError, whole_story

T = TypeVar("T")
PIECE = 1 << 24  # values (rows × columns) of a piece: enough to be worth a task, and small beside a worker's memory


class Pass(Protocol):
    def __call__(self, what: str, work: Callable[[Piece], T], source: Source) -> Iterator[T]:
        """What ``work`` returns for each piece of ``source``, in order; ``what`` it does is for people."""
        ...


def here(what: str, work: Callable[[Piece], T], source: Source) -> Iterator[T]:
    """The whole source as one piece, in this process."""
    yield work(source.whole())


def on_cluster(told: Callable[[str, float], None]) -> Pass:
    """Passes through Ray Data, which runs a task for each piece where there is room, and again where a node is lost.

    ``told`` hears what is done, and with which share of the pieces. What a task sends back waits in the object store, so it
    should be small: summaries, and rows only as far as they are sampled. A UserError of a task is raised here; JobError where
    tasks fail for another reason.
    """

    def over(what: str, work: Callable[[Piece], T], source: Source) -> Iterator[T]:
        import ray
        from ray import cloudpickle
        from ray.exceptions import RayError

        pieces = source.pieces(max(1, PIECE // source.values))
        told(what, 0.0)
        shared = ray.put((work, pieces))  # once, and not with every task

        def done(row: dict[str, Any]) -> dict[str, bytes]:
            work, pieces = ray.get(shared)
            try:
                return {"found": cloudpickle.dumps(work(pieces[row["id"]]))}
            except UserError as e:  # to be told, and not to be tried again
                return {"found": cloudpickle.dumps(e)}

        try:
            for count, row in enumerate(_each(len(pieces), done), start=1):
                found = cloudpickle.loads(row["found"])  # what our own task has sent
                if isinstance(found, UserError):
                    raise found
                told(what, count / len(pieces))
                yield found
        except RayError as e:
            raise JobError(f"{source.location}: {what} failed on the cluster\n{whole_story(e)}") from e

    return over


def _each(count: int, done: Callable[[dict[str, Any]], dict[str, bytes]]) -> Iterator[dict[str, Any]]:
    """What ``done`` makes of {"id": 0} … {"id": count − 1}, in order. Ray Data is left as it was found."""
    from ray.data import DataContext
    from ray.data import range as ids

    context, logger = DataContext.get_current().copy(), logging.getLogger("ray.data")
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns that it has no bars
    try:
        with DataContext.current(context):
            rows = ids(count, override_num_blocks=count).map(done)
        yield from rows.iter_rows()
    finally:
        logger.setLevel(level)
