"""What a study writes down, as it goes: enough to go on after the driver has died, to draw the report, to remember.

One JSON document, ``study.json`` in the study's folder, rewritten whole whenever something is known that must not be lost.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from cluster import storage
from synth.errors import UserError
from synth.provenance.manifest import Look

VERSION = 2
FILE = "study.json"

Origin = Literal["default", "portfolio", "surrogate", "tpe", "mutation", "population", "longer", "sampling"]
ENDING = ("longer", "sampling")
"""Origins of what comes after the search, which is worth more for another reason than its knobs."""
State = Literal["waiting", "running", "stopped", "done", "failed"]


class _Record(BaseModel):
    # What is no number is written as such: null would make the record of a study unreadable.
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="constants")


class Scored(_Record):
    """A score of ``tuning.objective``: the parts, and their sum ``value``."""

    utility: float
    error: float
    coverage: float
    copying: float
    value: float


class Rung(_Record):
    """What was drawn after ``seconds`` of training (``step`` optimizer steps, ``cpu_s`` of its first worker's processor
    time): the mean score of ``draws`` samples, and the standard error of its value from one draw to another."""

    seconds: float = Field(ge=0)
    cpu_s: float = Field(0.0, ge=0)
    step: int = Field(ge=0)
    draws: int = Field(ge=1)
    score: Scored
    error: float = Field(ge=0)


class Trial(_Record):
    """A recipe that is tried: where the idea came from (``origin``, ``why``), its ``knobs``, what the memory expected of it
    (``expected``: value and standard error), how it went (``curve``), and ``failure`` where it failed.

    ``stopped``: the scheduler ended it early; ``done``: trained to the end, or of a population ``until`` its segment's.
    ``parent``: the trial whose model it samples in another way, whose recipe it trains anew for longer, or which it, of a
    population, goes on with.
    """

    number: int = Field(ge=0)
    origin: Origin
    why: str = ""
    knobs: dict[str, Any]
    seed: int = 0
    parent: int | None = None
    until: float | None = None
    expected: tuple[float, float] | None = None
    state: State = "waiting"
    failure: str | None = None
    curve: list[Rung] = []

    @property
    def family(self) -> str:
        return str(self.knobs["family"])

    @property
    def model(self) -> int:
        """The trial whose model it is scored by."""
        return self.parent if self.origin == "sampling" and self.parent is not None else self.number

    @property
    def last(self) -> Rung | None:
        return self.curve[-1] if self.curve else None


class Finalist(_Record):
    """A trained model that was scored on ``confirm``, once for each seed: the mean ``value`` and its standard ``error``;
    by how much it is ``behind`` the best one, and the standard error of that, which is less than of either, as both are
    judged by the same rows; and whether it is what was released. ``steps``, ``seconds``, ``cpu_s`` as of a rung."""

    trial: int
    steps: int
    seconds: float
    cpu_s: float = 0.0
    scores: list[Scored]
    value: float
    error: float
    behind: float = 0.0
    behind_error: float = 0.0
    released: bool = False
    why: str = ""


class Study(_Record):
    """A search on one table. ``key`` names the rows in each part of the split, so that what was decided on them is never
    taken for another table's; ``features`` are the table's meta-features; ``real`` what models trained on real rows score on
    ``select``; ``long_s``: the seconds for which the best recipes are trained once the search is over, None before that, and
    0 where there was no time; ``decided``: the finalists were compared, so that what is left is to publish; ``released``: the
    value on select and on test of what was released, and the difference, the optimism."""

    version: int = VERSION
    id: str
    created: AwareDatetime
    data: str
    key: str
    recipe: dict[str, Any]
    target: str
    task: Literal["classification", "regression"]
    rows: dict[str, int]
    features: dict[str, float]
    real: dict[str, float]
    objective: list[str]
    budget_s: float
    slots: int
    rungs: list[float]
    trials: list[Trial] = []
    finalists: list[Finalist] = []
    looks: list[Look] = []
    long_s: float | None = None
    decided: bool = False
    released: dict[str, float] | None = None
    release: str | None = None
    notes: list[str] = []
    spent_s: float = 0.0

    def save(self, folder: str) -> None:
        storage.write_bytes(storage.join(folder, FILE), self.model_dump_json(indent=1).encode())

    @classmethod
    def load(cls, folder: str) -> Study:
        """UserError where it is damaged or of another version."""
        place = storage.join(folder, FILE)
        name = storage.without_credentials(place)
        damaged, content = f"{name}: is damaged; start anew with --overwrite", storage.read_bytes(place)
        try:
            document = json.loads(content)
            version = document.get("version")
        except (ValueError, AttributeError) as e:  # no JSON, or no object
            raise UserError(damaged) from e
        if version != VERSION:
            raise UserError(
                f"{name}: is of version {version}, and this is version {VERSION}: finish the study with the release of "
                "Artesian that began it, or start anew with --overwrite"
            )
        try:
            study = cls.model_validate(document)
        except ValidationError as e:
            raise UserError(damaged) from e
        numbers = [trial.number for trial in study.trials]
        named = {f.trial for f in study.finalists} | {t.parent for t in study.trials if t.parent is not None}
        if numbers != list(range(len(numbers))) or not named.issubset(numbers):
            raise UserError(damaged)
        return study
