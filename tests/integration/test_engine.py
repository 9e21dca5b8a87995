"""What DeepSpeed's engine makes of the precision that a recipe asks for."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.beside]


@ray.remote(max_calls=1)  # a process of its own: DeepSpeed's state is global
def dtype_of_products(folder: str, zero: int) -> str:
    import os

    import torch
    import torch.distributed as dist

    from synth.recipe import TrainingRecipe
    from synth.training.engine import make_engine

    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    dist.init_process_group("gloo", init_method=f"file://{folder}/store-{zero}", rank=0, world_size=1)
    recipe = TrainingRecipe(zero=zero, batch=8)
    engine = make_engine(torch.nn.Linear(4, 4), recipe, 100, torch.device("cpu"), zero=recipe.zero, bf16=True)
    # Without a device it asks about CUDA's autocast, so on CPUs DeepSpeed never takes the way that it takes on GPUs.
    torch.is_autocast_enabled = lambda *device: True  # type: ignore[assignment]
    with torch.autocast("cpu", torch.bfloat16):
        return str(engine(torch.zeros(8, 4)).dtype)


@pytest.mark.parametrize("zero", [0, 3])
def test_an_engine_leaves_bfloat16_on_where_it_finds_it_on_as_on_gpus(tmp_path: Path, zero: int) -> None:
    assert ray.get(dtype_of_products.remote(str(tmp_path), zero)) == "torch.bfloat16"


@ray.remote(max_calls=1)
def what_zero_3_holds(folder: str) -> tuple[bool, float, float]:
    """Whether the optimizer steps the shards that are gathered; and the shares of the weights that are whole at the end
    of a forward pass, and that the greatest step of the optimizer takes copies of gradients of."""
    import os

    import torch
    import torch.distributed as dist

    from synth.recipe import TrainingRecipe
    from synth.training import shards
    from synth.training.engine import make_engine

    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
    network = torch.nn.Sequential(*(torch.nn.Linear(256, 256) for _ in range(16)))
    recipe = TrainingRecipe(zero=3, batch=8)
    engine = make_engine(network, recipe, 100, torch.device("cpu"), zero=3, bf16=False)
    weights = list(engine.module.parameters())
    total = sum(p.ds_numel for p in weights)
    for _ in range(4):  # DeepSpeed lets all weights go until it has seen the order in which they are used
        loss = engine(torch.randn(8, 256)).square().sum()
        whole = sum(p.numel() for p in weights)
        engine.backward(loss)
        engine.step()
    flats = {f.flat.untyped_storage().data_ptr() for f in shards.fragments(engine)}
    gathered = {p.ds_tensor.untyped_storage().data_ptr() for p in weights}
    greatest = max(flat.numel() for flat in shards.adam(engine).state)
    return flats == gathered, whole / total, greatest / total


def test_zero_3_holds_little_beside_its_shards(tmp_path: Path) -> None:
    same, whole, greatest = ray.get(what_zero_3_holds.remote(str(tmp_path)))
    assert same
    assert whole < 0.4
    assert greatest < 0.25
