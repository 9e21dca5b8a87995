"""How much of a run's state each worker holds: the ZeRO stage of the recipe, or the one that the memory asks for.

ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054) spreads over the workers the optimizer's state at stage 1, the gradients
as well at 2, and the weights as well at 3, each for more communication than the one before.
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist

from cluster.machine import usable_memory
from synth.recipe import TrainingRecipe

# Bytes a parameter, all of it in fp32, by stage: whole on every worker, and spread over them. Weights, gradients, two
# moments and the average; at stages 1 and 2 also the copy that the optimizer steps.
STATE = {0: (20, 0), 1: (8, 16), 2: (4, 20), 3: (0, 20)}
SHARE = 0.5  # of a worker's memory; the rest is for activations and rows


def choose(parameters: int, workers: int, memory: int, most: int = 3) -> tuple[int, str]:
    """(stage, why): the lowest, up to ``most``, whose state fits into a share of ``memory`` (bytes a worker), the leanest
    if none does."""
    needed = {
        stage: round(parameters * (whole + spread / workers))
        for stage, (whole, spread) in STATE.items()
        if stage <= most
    }
    stages = [stage for stage in needed if needed[stage] <= SHARE * memory]
    stage = stages[0] if stages else min(needed, key=lambda stage: needed[stage])
    fits = "fits" if stages else "does not fit, so expect to run out of memory,"
    return stage, (
        f"ZeRO {stage}: the state of {parameters / 1e6:,.1f} million parameters, {needed[stage] / 2**20:,.0f} MiB on each of"
        f" {workers} worker(s), {fits} into {SHARE:.0%} of its {memory / 2**30:,.1f} GiB"
    )


def decide(recipe: TrainingRecipe, parameters: int, device: torch.device, *, most: int = 3) -> tuple[int, str]:
    """(stage, why), the same on all ranks; a collective where the recipe leaves it open, up to stage ``most``."""
    if recipe.zero != "auto":
        return recipe.zero, f"ZeRO {recipe.zero}, as the recipe has it"
    memory = torch.tensor(_memory(device), dtype=torch.int64, device=device)
    dist.all_reduce(memory, op=dist.ReduceOp.MIN)
    return choose(parameters, dist.get_world_size(), int(memory), most)


def _memory(device: torch.device) -> int:
    """Free bytes for this worker: of its GPU, or its share of the machine's or the container's."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return usable_memory()[1] // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
