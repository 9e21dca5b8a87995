"""After the training of a table diffusion model: a narrow student learns to draw its rows, for ``--quality fast``.

The teacher draws blocks of rows and says how likely their cells are; the student goes over the latest HELD blocks, TURNS
batches a block, while more come. How many blocks there are follows from the steps that the teacher took, so that a recipe
repeats it; the notes of a run say how long it took.
"""

from __future__ import annotations

import torch

from synth.generators.base import Draw, Generator
from synth.generators.student import CELLS, Lesson, Student
from synth.generators.table_diffusion import TableDiffusion
from synth.recipe import TrainingRecipe
from synth.training.device import computes_in_bf16
from synth.training.workers import Progress

ROWS, BATCH = 1024, 256  # of a block and of a step
HELD, TURNS = 64, 15  # blocks that are learnt from at a time, steps from one block to the next
# Steps of the teacher to a block, of a training that is a try and of a longer one; blocks of such a one, at least and at most.
SOON, EACH, LEAST, MOST = 20, 80, 40, 1024
MEMORY = 2**28  # bytes that the probabilities of the blocks that are held take at most
RATE, WARMUP, EMA = 8e-3, 50, 0.99


def blocks(training: TrainingRecipe, teacher: Generator) -> int:
    """How many a recipe whose steps are known asks for; none where nothing can be taught."""
    if not isinstance(teacher, TableDiffusion) or not teacher.teaches or len(teacher.layout.cells) > CELLS:
        return 0
    if training.distilled is not None:
        return training.distilled
    if training.steps is None:  # nothing has been trained
        return 0
    return min(training.steps // SOON, max(training.steps // EACH, LEAST), MOST)


def distil(teacher: TableDiffusion, count: int, seed: int, precision: str, progress: Progress) -> None:
    """Give ``teacher`` a student that has learnt from so many blocks of its rows, in a recipe's ``precision``."""
    device = teacher.segments.first.device
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # initial weights
        student = Student(teacher.layout, teacher.deviation)
    student.to(device)
    student.inherit(teacher.denoiser)
    bf16 = computes_in_bf16(precision, device)
    weights = list(student.parameters())
    means = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.AdamW(weights, lr=RATE, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    held = max(1, min(HELD, MEMORY // (2 * ROWS * max(sum(teacher.layout.sizes), 1))))
    lessons: list[Lesson] = []
    total, lately = count * TURNS, torch.zeros((), device=device)
    for block in range(count):
        lessons = [*lessons, teacher.lesson(ROWS, Draw("distil", seed, block, device=device))][-held:]
        lately.zero_()
        for turn in range(TURNS):
            step = block * TURNS + turn
            draw = Draw("distil", seed, block, turn, device=device)
            chosen = lessons[int(draw.uniform(1, 1) * len(lessons))].take((draw.uniform(BATCH, 1)[:, 0] * ROWS).long())
            sigma, noisy, raw = teacher.asked(chosen, draw)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                missed, error = student.losses(chosen, noisy, sigma, raw)
            for group in optimizer.param_groups:
                group["lr"] = RATE * min((step + 1) / WARMUP, 1.4 * (1 - step / total), 1.0)
            optimizer.zero_grad()
            (missed + error).backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            torch._foreach_lerp_(means, [weight.detach() for weight in weights], max(1 - EMA, 1 / (step + 1)))
            lately += (missed + error).detach() / TURNS
        progress("teaching a fast student", (block + 1) / count, {"loss": float(lately)})
    with torch.no_grad():
        for weight, mean in zip(weights, means, strict=True):
            weight.copy_(mean)
    teacher.student = student.eval()
