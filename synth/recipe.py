"""The recipe: everything a training run needs, as one validated document.

A recipe plus a source plus a seed gives the same release on the same machine. Every flag of ``artesian train`` is a key
here, and every key can be given as ``--set key=value``.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from synth.errors import UserError
from synth.family import DiffusionRecipe, FamilyRecipe, GanRecipe, ImageRecipe, Part, VaeRecipe


class CodecRecipe(Part):
    """How columns are shown to the model."""

    ordered_up_to: int = Field(
        256, ge=2, le=4096, description="numbers with at most so many distinct values are states"
    )
    atom_share: float = Field(0.0025, ge=0.002, le=1.0, description="share of rows from which one number is a state")
    bins: int = Field(32, ge=1, le=1024, description="one over the share of rows of a state between point masses")
    crosses: int = Field(4, ge=0, le=16, description="combinations of cells that are told apart, where it is worth it")


class TrainingRecipe(Part):
    """Batches, optimiser, length, sharding, checkpoints."""

    steps: int | None = Field(None, ge=1, description="optimizer steps; give this or budget_s")
    budget_s: float | None = Field(None, gt=0, description="seconds of training, counted from the first step")
    batch: int = Field(1024, ge=2, description="rows in one optimizer step, over all workers")
    accumulate: int = Field(1, ge=1, description="micro-batches in one optimizer step")
    learning_rate: float = Field(3e-3, gt=0)
    memory: float = Field(120, gt=0, description="epochs after which weight decay has a matrix forget, as e^-1")
    warmup: int = Field(100, ge=1, description="steps over which the learning rate rises")
    decay: float = Field(
        0.6, gt=0, le=0.95, description="last share of the steps, over which the learning rate falls to 0"
    )
    shortened: list[tuple[int, int]] = Field(
        default_factory=list,
        description="(step, steps planned until then) of a run whose budget ran short, kept so that its recipe repeats it",
    )
    early: bool = Field(
        False,
        description="let a budget end sooner where the loss on rows of select shows that more time would not lower it",
    )
    clip: float = Field(1.0, gt=0, description="greatest norm of a gradient")
    beta1: float = Field(0.9, ge=0, lt=1, description="how much AdamW's mean of gradients keeps from step to step")
    beta2: float = Field(0.999, ge=0, lt=1, description="the same for its mean of their squares")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the averaged weights that are published")
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    workers: Annotated[int, Field(ge=1)] | tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = Field(
        1, description="how many, or the least and the most: as many as the cluster has room for at the time"
    )
    zero: Literal["auto", 0, 1, 2, 3] = Field(
        "auto", description="ZeRO stage: what is sharded over the workers; auto: the least that the memory asks for"
    )
    offload: bool = Field(False, description="keep the optimizer's state in the main memory, at ZeRO 1 to 3")
    recompute: bool = Field(
        False, description="compute activations again where they are needed, instead of keeping them"
    )
    hold_mib: int = Field(
        1024, ge=0, description="MiB of encoded rows up to which each worker holds the table; a larger one is streamed"
    )
    checkpoint_s: float = Field(60, gt=0, description="seconds between checkpoints")
    distilled: int | None = Field(
        None, ge=0, description="blocks of 1,024 of its rows from which a table diffusion model teaches a student, for quality"
        " fast; null: one for every 20 steps up to 40, then for every 80, 1,024 at most; 0: none",
    )  # fmt: skip
    keep: int = Field(2, ge=1, description="newest checkpoints kept, beside the best one")
    checks: int = Field(
        10, ge=0, le=100, description="looks at what is drawn so far, evenly over the run; the best checkpoint is that with"
        " the best coverage then, without looks that with the lowest loss",
    )  # fmt: skip
    falls: int = Field(
        3, ge=1, description="successive looks with less coverage and a better loss, or with few modes and no gain in the"
        " second half, after which a run ends, at its best",
    )  # fmt: skip
    failures: int = Field(5, ge=0, description="deaths of workers that a run survives")
    patience_s: float = Field(300, gt=0, description="seconds that workers wait for one that hangs")

    @model_validator(mode="after")
    def _length(self) -> TrainingRecipe:
        if self.steps is not None and self.budget_s is not None:
            raise ValueError("give steps or budget_s, not both")
        if self.shortened:
            at, ends = zip(*self.shortened, strict=True)
            order = [-end for end in ends], [*at, self.steps or 0]
            if self.steps is None or any(sorted(o) != list(o) for o in order) or ends[-1] < self.steps:
                raise ValueError(
                    f"shortened={self.shortened}: needs steps, and pairs (step, steps planned until then) of rising steps "
                    "and falling plans, down to steps; leave it out"
                )
        if self.least > self.most:
            raise ValueError(f"workers={self.least},{self.most}: the least come first, as in {self.most},{self.least}")
        if self.batch % self.accumulate:
            raise ValueError(f"batch={self.batch} does not divide into accumulate={self.accumulate} micro-batches")
        shares = self.most * self.accumulate
        if self.batch < 2 * shares:  # of one row, no share could learn its cells and another its values
            raise ValueError(
                f"batch={self.batch} leaves less than two rows to each of workers={self.most} × "
                f"accumulate={self.accumulate}: give a batch of {2 * shares} or more"
            )
        return self

    @property
    def least(self) -> int:
        """Fewest workers."""
        return self.workers if isinstance(self.workers, int) else self.workers[0]

    @property
    def most(self) -> int:
        """Most workers."""
        return self.workers if isinstance(self.workers, int) else self.workers[1]


class Recipe(Part):
    """Everything a run needs besides the data."""

    family: Literal["diffusion", "gan", "vae"] = "diffusion"
    seed: int = Field(0, ge=0)
    target: str | None = None
    split: list[float] | None = Field(None, description="shares of train, select, confirm and, without --test, test")
    categorical: list[str] = Field(default_factory=list)
    numerical: list[str] = Field(default_factory=list)
    datetime: list[str] = Field(default_factory=list)
    id: list[str] = Field(default_factory=list)
    exclude: list[str] = Field(default_factory=list)
    constraints: list[str] = Field(default_factory=list, description="what must hold in every row, as in start <= end")
    broken: float = Field(
        0.0, ge=0, lt=1, description="share of real rows that may break a constraint; they are left out"
    )
    mix: Literal["golden"] | Annotated[float, Field(gt=0, lt=1)] = Field(
        "golden", description="share of real rows in each batch where synthetic ones are given, too; golden: that with which a"
        " model is estimated best",
    )  # fmt: skip
    verify: float | None = Field(
        None, gt=0, lt=1, description="share of the synthetic rows that is learnt from: those that judges which know real rows"
        " alone find likeliest, class by class",
    )  # fmt: skip
    subset: float | None = Field(
        None, gt=0, lt=1, description="share of the synthetic rows that is learnt from: those that lie far from each other,"
        " class by class",
    )  # fmt: skip
    finetune: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="last share of the steps, in which real rows alone are learnt from; at most training.decay",
    )
    refined: str | None = Field(
        None, description="what a release was refined by after it was trained; of such a one alone"
    )
    codec: CodecRecipe = CodecRecipe()
    diffusion: DiffusionRecipe = DiffusionRecipe()
    gan: GanRecipe = GanRecipe()
    vae: VaeRecipe = VaeRecipe()
    image: ImageRecipe = ImageRecipe()
    training: TrainingRecipe = TrainingRecipe()

    @field_validator("split")
    @classmethod
    def _shares(cls, shares: list[float] | None) -> list[float] | None:
        if shares is None:
            return None
        if len(shares) not in (3, 4) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(
                f"{shares} must be 3 or 4 shares that sum to 1: train, select, confirm and, without --test, test"
            )
        return shares

    @model_validator(mode="after")
    def _real_rows_end_it(self) -> Self:
        if self.finetune > self.training.decay:
            raise ValueError(
                f"finetune={self.finetune:g} is more than training.decay={self.training.decay:g}: how many steps there are is "
                "not known sooner; give less, or a longer decay"
            )
        return self

    @classmethod
    def read(cls, path: str | Path | None, overrides: dict[str, Any]) -> Recipe:
        """The recipe in a YAML file (or the default one) with ``overrides`` by dotted key, None meaning not given."""
        document: dict[str, Any] = {}
        where = "recipe" if path is None else f"recipe {str(path)!r}"
        if path is not None:
            try:
                document = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
            except (OSError, ValueError, yaml.YAMLError) as e:  # ValueError: not UTF-8, or a date that there is not
                raise UserError(f"recipe {str(path)!r} cannot be read: {e}") from e
            if not isinstance(document, dict):
                raise UserError(f"recipe {str(path)!r} must be a mapping of keys, not {type(document).__name__}")
        for key, value in overrides.items():
            if value is None:
                continue
            *parents, last = key.split(".")
            part = document
            for depth, parent in enumerate(parents, start=1):
                if part.get(parent) is None:  # absent, or a heading with nothing under it
                    part[parent] = {}
                part = part[parent]
                if not isinstance(part, dict):
                    raise UserError(f"{where}: {'.'.join(parents[:depth])}={part!r} is no mapping, and {key} is in one")
            part[last] = value
            # A length on the command line replaces the one in the file; two there contradict each other.
            other = {"training.steps": "training.budget_s", "training.budget_s": "training.steps"}.get(key)
            if other and overrides.get(other) is None:
                part.pop(other.removeprefix("training."), None)
                if overrides.get("training.shortened") is None:  # what became of the length in the file
                    part.pop("shortened", None)
        return cls.check(document, where=where)

    @classmethod
    def check(cls, document: dict[str, Any], where: str = "recipe") -> Recipe:
        """Validate; a UserError names each offending key, with the nearest known name for an unknown one."""
        try:
            return cls.model_validate(document)
        except ValidationError as e:
            raise UserError("\n".join(f"{where}: {_explain(cls, error)}" for error in e.errors())) from e

    def resolved(self, *, test_apart: bool) -> Recipe:
        """With what was left open filled in: four minutes, and a split that keeps test rows unless they come apart."""
        training = self.training
        if training.steps is None and training.budget_s is None:
            training = training.model_copy(update={"budget_s": 240.0})
        split = self.split or ([0.8, 0.1, 0.1] if test_apart else [0.7, 0.1, 0.1, 0.1])
        return self.model_copy(update={"training": training, "split": split})

    def suited(self, *, images: bool) -> Recipe:
        """With what the family trains best with, for tables or images, in place of defaults that nobody has set.

        Raises UserError for a way to save memory that the family's objective rules out, and where the family's batch does
        not go with what was set.
        """
        training, settings = self.training, self.settings(images=images)
        if settings.second_order:
            for key, instead, wanted in (("zero", 2, training.zero == 3), ("recompute", False, training.recompute)):
                if wanted:
                    raise UserError(
                        f"training.{key}={getattr(training, key)}: is not possible with {settings.second_order}, which takes "
                        f"gradients of gradients: set training.{key}={instead}, or a recipe without it"
                    )
        suits = {k: v for k, v in settings.TRAINING.items() if k not in training.model_fields_set}
        return Recipe.check(self.model_dump() | {"training": training.model_dump() | suits})

    def settings(self, *, images: bool) -> FamilyRecipe:
        """The part of the recipe that is the family's own."""
        part = self.image if images else self
        found: dict[str, FamilyRecipe] = {"diffusion": part.diffusion, "gan": part.gan, "vae": part.vae}
        return found[self.family]

    def yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True)

    def sha256(self) -> str:
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def seconds(text: str) -> float:
    """``90``, ``90s``, ``4m``, ``1h30m`` → seconds; UserError otherwise."""
    match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip())
    total = sum(float(n or 0) * unit for n, unit in zip(match.groups(), (3600, 60, 1), strict=True)) if match else 0.0
    if total <= 0:
        raise UserError(f"{text!r} is no length of time: write 90s, 4m or 1h30m")
    return total


def team(text: str) -> int | tuple[int, int]:
    """``4`` → 4, ``1,4`` → (1, 4): the least and the most; UserError otherwise."""
    match = re.fullmatch(r"\s*(\d+)\s*(?:,\s*(\d+)\s*)?", text)
    if not match:
        raise UserError(f"--workers {text!r}: write a number, such as 4, or the least and the most, such as 1,4")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


def together(settings: dict[str, Any], flags: dict[str, Any]) -> dict[str, Any]:
    """Keys of the recipe given by name and those that have a flag; a flag that is not given takes nothing back."""
    given = {key: value for key, value in flags.items() if value is not None}
    for key in settings.keys() & given.keys():
        raise UserError(f"{key}: given twice, as {settings[key]!r} and as {given[key]!r}; leave one out")
    return settings | given


def parse_setting(text: str) -> tuple[str, Any]:
    """``key=value`` → (key, value as YAML reads it); UserError without a key, a value, or YAML in it."""
    key, _, value = text.partition("=")
    try:
        parsed = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError) as e:  # ValueError: a date that there is not
        raise UserError(
            f"--set {text!r}: {value!r} is not YAML; put quotes around text, as in --set 'target=\"@x\"'"
        ) from e
    if not key.strip() or parsed is None:
        raise UserError(f"--set {text!r}: write KEY=VALUE, for example --set diffusion.width=512")
    return key.strip(), parsed


def _explain(part: type[BaseModel], error: Any) -> str:
    path: list[str] = []
    inside: Any = part
    for name in error["loc"]:
        if isinstance(inside, type) and issubclass(inside, BaseModel):
            part, field = inside, inside.model_fields.get(name)
            inside = None if field is None else field.annotation
        elif not isinstance(name, int):  # which of a key's types was tried, and no key
            continue
        path.append(str(name))
    key = ".".join(path) or "recipe"
    if error["type"] != "extra_forbidden":
        found = "" if isinstance(error["input"], dict) else f"={error['input']!r}"  # keys that do not go together
        return f"{key}{found}: {error['msg'].removeprefix('Value error, ')}"
    known = list(part.model_fields)
    near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"
    return f"unknown key {key!r}; {hint}"
