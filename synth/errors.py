"""Errors that a person can act on."""

import tempfile


class UserError(ValueError):
    """What the user asked for cannot be done.

    The message names the offending value, the place (file, column, row, key) and the remedy. The command prints it
    without a traceback and exits with status 2.
    """

    part: str | None = None
    """Of a request for rows, the part that is wrong, where that is known: where, balance, rare."""


class ReleaseError(UserError):
    """A release is incomplete, altered or unreadable; the message names the file."""


class JobError(RuntimeError):
    """The system could not do what was asked: workers lost, storage gone. The message says what was kept."""


def whole_story(error: Exception) -> str:
    """Where an error's own text is kept, which with Ray is the traceback of another process."""
    with tempfile.NamedTemporaryFile("w", prefix="artesian-failure-", suffix=".txt", delete=False) as file:
        file.write(str(error))
    return f"the whole story is in {file.name}"
