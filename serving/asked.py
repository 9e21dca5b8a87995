"""What a caller asks for, as it comes over the wire: text is not taken for a number, nor a truth value."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from serving.problems import MOST_ECHO, Problem, cut
from serving.settings import Limits
from serving.stream import text_of

FormatName = Literal["json", "ndjson", "csv", "parquet", "arrow"]
LONGEST = 1_000  # characters of a clause
SEEDS = 2**63
CHOSEN = 2**53  # seeds that the service chooses, which JavaScript has room for, too


def _no_text(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError(f"is {cut(json.dumps(value), MOST_ECHO)}, and should be a whole number, such as 100")
    return value


Whole = Annotated[int, BeforeValidator(_no_text)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Clause = Annotated[str, Field(max_length=LONGEST)]
Plain = bool | int | Annotated[float, Field(allow_inf_nan=False)] | Clause | None
Where = Clause | list[Clause] | dict[Clause, Plain | list[Plain]]
Balance = Clause | dict[Clause, dict[Clause, Number]]


class Asked(BaseModel):
    """Rows of which certain things hold: conditions that all meet, classes in equal or given shares, an event more often."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    where: Where | None = Field(
        default=None, description="A clause, several or a mapping; every row meets all of them.",
        examples=["age>=65", ["age>=65", "sex=Female"], {"income": ">50K"}],
    )  # fmt: skip
    balance: Balance | None = Field(
        default=None, description="A column whose classes come in equal shares, or a mapping with their shares.",
        examples=["income", {"income": {"<=50K": 0.5, ">50K": 0.5}}],
    )  # fmt: skip
    rare: Where | None = Field(default=None, description="An event that comes `boost` times as often as by itself.")
    boost: Number = Field(default=1.0, ge=1, le=1e6)
    quality: Literal["best", "fast"] = Field(
        default="best", description="fast: by the release's student, where it has one; of nothing else asked."
    )

    @property
    def words(self) -> dict[str, Any]:
        """The arguments of ``synth.sampling.Sampler.ask``, without those that ask for nothing."""
        return self.model_dump(include={"where", "balance", "rare", "boost", "quality"}, exclude_defaults=True)

    @property
    def text(self) -> str:
        """The same as canonical JSON; empty where nothing is asked."""
        return text_of(self.words)

    @property
    def clauses(self) -> int:
        """How many there are of them, in all."""
        counted = 0
        for part in (self.where, self.rare, self.balance):
            counted += 0 if part is None else 1 if isinstance(part, str) else len(part)
        return counted

    def check(self, limits: Limits) -> None:
        """Problem where there are more of them than a request has."""
        if self.clauses > limits.clauses:
            raise Problem(
                422, "More clauses than a request has", f"{self.clauses} clauses: at most {limits.clauses} are understood",
                "/problems/too-many-clauses", "/where", "ask for less at once",
            )  # fmt: skip


class Rows(Asked):
    """So many rows of a seed's endless table, from the row ``first`` on."""

    n: Whole = Field(ge=1, description="How many rows.", examples=[100])
    seed: Whole | None = Field(
        default=None, ge=0, lt=SEEDS, description="The same seed gives the same rows; without one, one is drawn."
    )
    first: Whole = Field(
        default=0, ge=0, lt=SEEDS, description="The first of the rows, to go on where an answer was cut."
    )


class Samples(Rows):
    """A request for samples that are waited for."""

    format: FormatName | None = Field(
        default=None, description="Of the answer; without one, the Accept header decides."
    )


class Job(Rows):
    """A request for samples that are too many to be waited for: a folder of Parquet parts."""

    out: str | None = Field(
        default=None, max_length=LONGEST, description="A folder or URI; by default the service's own."
    )
