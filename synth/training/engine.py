"""DeepSpeed around one player of a generator, and the averaged weights that are published."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from synth.recipe import TrainingRecipe


def make_engine(
    player: nn.Module, recipe: TrainingRecipe, rows: int, device: torch.device, *, zero: int, bf16: bool
) -> Any:
    """A DeepSpeed engine over ``player`` at a ZeRO stage, with AdamW in fp32; ``rows`` are those of the table.

    Weights, gradients and moments stay in fp32 and products are computed under autocast with ``bf16``: table models are
    small, so half-precision storage would save nothing and cost the optimizer its accuracy.
    """
    os.environ.setdefault("DS_ACCELERATOR", device.type)
    import deepspeed

    # On CPUs DeepSpeed compiles a shared-memory all-reduce at its first collective if it finds a compiler: half a
    # minute of silence for a small gain. Gloo does without, everywhere alike.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if recipe.recompute:
        recompute(player)
    # A client optimizer from torch needs no compiled operator either.
    optimizer = make_optimizer(player, recipe, rows)
    size = sum(p.numel() for p in player.parameters())
    # Elements that a rank holds for a while beside what it keeps; by themselves up to a billion, all of most players.
    piece = min(max(size // 8, 1 << 16), 500_000_000)
    sharding: dict[str, Any] = {
        "stage": zero,
        "reduce_bucket_size": piece,  # the buffer in which gradients travel
        # At ZeRO 3, the optimizer steps a group after the other, each with a copy of its gradients; and weights that were
        # gathered on the way forth are let go, and gathered again on the way back, unless that is near.
        "sub_group_size": piece,
        "stage3_max_reuse_distance": piece,
        "stage3_prefetch_bucket_size": piece,
        "stage3_max_live_parameters": 2 * piece,  # beyond which none is fetched ahead of its use
        "overlap_comm": zero > 0 and device.type == "cuda",
        # No "persistent" parameters, which ZeRO 3 would keep whole beside their shards: a checkpoint holds shards alone.
        "stage3_param_persistence_threshold": 0,
    }
    if recipe.offload and zero:
        sharding["offload_optimizer"] = {"device": "cpu"}
    config = {
        "train_micro_batch_size_per_gpu": recipe.batch // (dist.get_world_size() * recipe.accumulate),  # or a row more
        "gradient_accumulation_steps": recipe.accumulate,
        "gradient_clipping": recipe.clip,
        "zero_optimization": sharding,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # a compiled one, where the state is offloaded
        # Said here because on GPUs the engine turns off what it finds turned on outside it. No modules whose weights and
        # gradients may travel in bfloat16: what is gathered and reduced stays fp32.
        "torch_autocast": {"enabled": bf16, "dtype": "bfloat16", "lower_precision_safe_modules": []},
        "steps_per_print": 1_000_000_000,
    }
    engine, *_ = deepspeed.initialize(model=player, optimizer=optimizer, config=config)
    if zero == 3:
        share_weights(engine.optimizer)
    if engine.world_size == 1 and zero == 0:
        engine.enable_backward_allreduce = False  # which would copy all gradients twice, to sum them over one worker
    return engine


def share_weights(optimizer: Any) -> None:
    """Let ZeRO 3 step the very shards that it gathers, where they lie on the device that steps them.

    DeepSpeed 0.19 means to, and keeps a copy of all shards because it compares a device with a device's name.
    """
    for gathered, stepped in zip(
        optimizer.fp16_partitioned_groups_flat, optimizer.fp32_partitioned_groups_flat, strict=True
    ):
        if gathered.device == stepped.device:
            stepped.data = gathered.data  # all in fp32, whatever the names say


def recompute(module: nn.Module) -> None:
    """Let the blocks of each list in ``module`` keep their inputs alone, and compute the rest again for the gradients
    (Chen et al. 2016, arXiv 1604.06174). Lists inside a block are left alone: they would be computed a third time."""
    for child in module.children():
        if isinstance(module, nn.ModuleList) and not isinstance(child, nn.ModuleList):
            child.forward = partial(checkpoint, child.forward, use_reentrant=False)
        else:
            recompute(child)


def limit_waits(seconds: float) -> None:
    """End every collective that takes longer, in the process groups that there are, DeepSpeed's own included.

    Those are made without a word on time, which to PyTorch means half an hour.
    """
    for group in dist.distributed_c10d._world.pg_map:
        dist.distributed_c10d._set_pg_timeout(timedelta(seconds=seconds), group)


def make_optimizer(player: nn.Module, recipe: TrainingRecipe, rows: int) -> torch.optim.Optimizer:
    """AdamW with decoupled decay of matrices alone (Loshchilov and Hutter 2019, arXiv 1711.05101).

    AdamW's weights are a moving average over 1 / (rate · decay) steps. What suits is about the same number of epochs
    whatever the table and the model (Wang and Aitchison 2024, arXiv 2405.13698), and keeps small tables from being learnt
    by heart in the many epochs that they see. At most 1, where an epoch is less than a few steps.

    The second moment remembers a thousand steps, unless told otherwise. A rare state's gradient comes in bursts, one an
    epoch for a value that one row has; where the memory is shorter, each burst counts for less than the many small
    gradients the other way between two of them, and the tails of all columns come out thin.
    """
    epoch = rows / recipe.batch
    decay = min(1.0, 1 / (recipe.learning_rate * recipe.memory * epoch))
    groups = [
        {"params": [p for p in player.parameters() if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in player.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(recipe.beta1, recipe.beta2), fused=True)


class Average:
    """Exponential moving average of weights in fp32, sharded as the weights are: each rank averages what it owns.

    ``live`` are views of the weights that the optimizer steps; under ZeRO 3, writing through gathered parameters would be
    lost. Early steps average over a shorter past, decay = min(``decay``, (t + 1)/(t + 10)), so the start is forgotten.
    """

    def __init__(self, live: Sequence[Tensor], decay: float) -> None:
        self.live, self.decay, self.steps = list(live), decay, 0
        self.shards = [t.detach().clone() for t in self.live]

    @torch.no_grad()
    def update(self) -> None:
        decay = min(self.decay, (self.steps + 1) / (self.steps + 10))
        if self.shards:  # a rank may own nothing of a small player
            torch._foreach_lerp_(self.shards, self.live, 1 - decay)
        self.steps += 1
