"""What a table diffusion model gets once it is trained, and before it is certified: shares that are right, and a student."""

from __future__ import annotations

import time

from synth.generators.base import Generator
from synth.generators.table_diffusion import TableDiffusion
from synth.recipe import Recipe
from synth.training import distil, raking
from synth.training.workers import Progress


def finish(generator: Generator, recipe: Recipe, notes: list[str], progress: Progress) -> Recipe:
    """Rake a table diffusion model, and give it a student, where it can have one; what was done is noted, and the recipe that
    is returned says how much the student has learnt.

    A refined model is left as it was chosen and confirmed; it gets a student of its own.
    """
    count = distil.blocks(recipe.training, generator)
    if recipe.training.distilled and not count:
        notes.append(
            f"training.distilled={recipe.training.distilled}: nothing here can be taught to a student; there is none"
        )
    if isinstance(generator, TableDiffusion) and generator.teaches:
        worth, began = raking.worth(recipe.training, generator.layout), time.monotonic()
        if worth and recipe.refined is None and generator.denoiser.logits is not None:
            progress("raking", 0.0, {})
            raking.rake(generator.layout, generator.denoiser.logits.bias, generator.heat, generator.cells, recipe.seed)
            took = time.monotonic() - began
            notes.append(f"samples were raked to the training rows' shares of each cell's states, in {took:.0f} s")
        if count:
            began = time.monotonic()
            teach(generator, recipe, count, progress)
            notes.append(
                f"a student for --quality fast has learnt from {count * distil.ROWS:,} rows in {time.monotonic() - began:.0f} s"
            )
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"distilled": count})})


def teach(teacher: TableDiffusion, recipe: Recipe, count: int, progress: Progress) -> None:
    """Give a trained model a student that has learnt from so many blocks of its rows, and rake it."""
    distil.distil(teacher, count, recipe.seed, recipe.training.precision, progress)
    student = teacher.student
    if student is not None and raking.worth(recipe.training, teacher.layout):
        raking.rake(
            teacher.layout,
            student.logits.bias,
            1.0,
            lambda n, draw: student.begun(n, draw).cells,
            recipe.seed,
            "student",
        )
