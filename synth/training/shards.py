"""Which part of a player's training state a rank owns, whatever the ZeRO stage, and how the parts are saved and read.

A *fragment* is a run of one parameter's flattened elements. At ZeRO 0 each rank owns every parameter whole. At 1 and 2
DeepSpeed lays the parameters of a group end to end and cuts the line into one piece a rank, so that a fragment may begin
or end inside a parameter; at 3 it cuts each parameter into one piece a rank. A rank's file holds its fragments' weights,
Adam moments and averages by parameter and first element. So any number of ranks, at any stage, finds what it needs in
the files of any other: no conversion, and no pickle, which DeepSpeed's own checkpoints are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

MOMENTS = ("exp_avg", "exp_avg_sq")  # what torch's AdamW keeps of each weight


@dataclass(frozen=True)
class Fragment:
    """Elements ``start`` … of the parameter ``name`` of ``shape``, and where they lie: ``span`` of ``flat``, the fp32
    tensor that the optimizer steps. ``parameter`` is what the network computes with."""

    name: str
    shape: torch.Size
    start: int
    flat: Tensor
    span: slice
    parameter: Tensor

    @property
    def weight(self) -> Tensor:
        """(n,) fp32, a live view."""
        return self.flat.detach().view(-1)[self.span]

    def __len__(self) -> int:
        return self.span.stop - self.span.start


def fragments(engine: Any) -> list[Fragment]:
    """The fragments of a DeepSpeed engine's parameters that this rank owns; the same objects stay valid in training."""
    stage, optimizer, found = engine.zero_optimization_stage(), engine.optimizer, []
    for name, p in engine.module.named_parameters():
        flat, start, first, length = p, 0, 0, p.numel()
        if stage == 3:
            group, first, length = optimizer.grad_position[optimizer.get_param_id(p)]
            flat, start = optimizer.fp32_partitioned_groups_flat[group], engine.global_rank * length
            length = min(length, p.ds_numel - start)  # the last ranks' pieces are padded
        elif stage:
            if p._hp_mapping is None:  # all of it lies with other ranks
                continue
            here, there = p._hp_mapping.lp_fragment_address, p._hp_mapping.hp_fragment_address
            flat = optimizer.single_partition_of_fp32_groups[p._hp_mapping.param_group_index]
            start, first, length = here.start, there.start, here.numel
        if length > 0:
            shape = getattr(p, "ds_shape", p.shape)
            found.append(Fragment(name, shape, start, flat, slice(first, first + length), p))
    return found


def adam(engine: Any) -> torch.optim.Optimizer:
    """The torch optimizer in an engine, which ZeRO wraps."""
    inner: torch.optim.Optimizer = engine.optimizer.optimizer if engine.zero_optimization_stage() else engine.optimizer
    return inner


def state_of(
    engine: Any, mine: Iterable[Fragment], averages: Iterable[Tensor]
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """This rank's tensors by ``kind/name/start``, and what safetensors keeps beside them: shapes and Adam's step."""
    state, updates = adam(engine).state, 0
    tensors: dict[str, Tensor] = {}
    shapes: dict[str, list[int]] = {}
    for fragment, average in zip(mine, averages, strict=True):
        if moments := state.get(fragment.flat):
            updates = int(moments["step"])
            kept = {key: moments[key].view(-1)[fragment.span] for key in MOMENTS}
        else:  # before the first step
            kept = {key: torch.zeros_like(average) for key in MOMENTS}
        kept |= {"weight": fragment.weight, "average": average}
        shapes[fragment.name] = list(fragment.shape)
        tensors |= {f"{kind}/{fragment.name}/{fragment.start}": t.detach().cpu().clone() for kind, t in kept.items()}
    return tensors, {"shapes": json.dumps(shapes), "updates": str(updates)}


def gather(mine: Sequence[Fragment], averages: Sequence[Tensor], device: torch.device) -> dict[str, Tensor]:
    """The averages of a player's parameters, whole, by name: on rank 0, and nothing on the others. A collective; it goes
    by way of ``device``, as not every backend takes tensors from elsewhere."""
    parts = [[(fragment.name, fragment.shape, fragment.start, len(fragment)) for fragment in mine]]
    flats = [torch.cat([torch.empty(0, device=device), *(average.view(-1).to(device) for average in averages)])]
    if dist.get_world_size() > 1:
        [described], parts = parts, [[] for _ in range(dist.get_world_size())]
        dist.all_gather_object(parts, described)
        longest = max(sum(length for *_, length in part) for part in parts)
        if all(part == described for part in parts):  # each owns all
            parts = parts[:1]
            flats = flats if dist.get_rank() == 0 else []
        else:
            flat = F.pad(flats[0], (0, longest - len(flats[0])))
            flats = [torch.empty_like(flat) for _ in parts] if dist.get_rank() == 0 else []
            dist.gather(flat, flats or None)
    whole: dict[str, Tensor] = {}
    for part, flat in zip(parts, flats, strict=False):
        first = 0
        for name, shape, start, length in part:
            values = whole.setdefault(name, torch.empty(shape, device=device)).view(-1)
            values[start : start + length] = flat[first : first + length]
            first += length
    return whole


class Saved:
    """The files of all ranks of one player, read piece by piece."""

    def __init__(self, files: Sequence[Any]) -> None:
        self.shapes: dict[str, list[int]] = {}
        self.updates = 0
        self._pieces: dict[str, list[tuple[int, Any, str]]] = {}
        for file in files:
            beside = file.metadata()
            self.shapes |= json.loads(beside["shapes"])
            self.updates = max(self.updates, int(beside["updates"]))
            for key in file.keys():  # noqa: SIM118 (no mapping)
                parameter, _, start = key.rpartition("/")
                self._pieces.setdefault(parameter, []).append((int(start), file, key))

    def read(self, kind: str, name: str, start: int, length: int) -> Tensor:
        """(length,) fp32 of one kind of a parameter's state; KeyError where the files leave a gap."""
        found, covered = torch.empty(length), 0
        for first, file, key in self._pieces[f"{kind}/{name}"]:
            piece = file.get_slice(key)
            low, high = max(start, first), min(start + length, first + piece.get_shape()[0])
            if low < high:
                found[low - start : high - start] = piece[low - first : high - first]
                covered += high - low
        if covered != length:
            raise KeyError(f"{kind}/{name}: {covered} of {length} elements from {start} on are in the files")
        return found

    def whole(self, kind: str) -> dict[str, Tensor]:
        """One kind of all parameters' state by name, in their shapes."""
        sizes = {name: torch.Size(shape) for name, shape in self.shapes.items()}
        return {name: self.read(kind, name, 0, size.numel()).view(size) for name, size in sizes.items()}


@contextmanager
def opened(paths: Iterable[Path]) -> Iterator[Saved]:
    """The files of one player."""
    from safetensors import safe_open

    with ExitStack() as stack:
        yield Saved([stack.enter_context(safe_open(path, "pt")) for path in paths])


def restore(engine: Any, mine: Sequence[Fragment], averages: Sequence[Tensor], saved: Saved) -> None:
    """Put what was saved, by any number of ranks at any stage, into this rank's engine and averages."""
    state = adam(engine).state
    for flat in {id(f.flat): f.flat for f in mine}.values():
        state[flat] = {key: torch.zeros_like(flat.detach()) for key in MOMENTS}
        state[flat]["step"] = torch.tensor(float(saved.updates), device=flat.device)
    for fragment, average in zip(mine, averages, strict=True):
        where = fragment.name, fragment.start, len(fragment)
        weight = saved.read("weight", *where)
        fragment.weight.copy_(weight)
        average.copy_(saved.read("average", *where))
        for key in MOMENTS:
            state[fragment.flat][key].view(-1)[fragment.span] = saved.read(key, *where).to(fragment.flat.device)
        if (shard := getattr(fragment.parameter, "ds_tensor", None)) is not None:
            shard.data.view(-1)[: len(fragment)] = weight.to(shard.device)
    if engine.zero_optimization_stage() in (1, 2):  # parameters are whole on every rank, whoever steps them
        _fill(engine.module, saved)


@torch.no_grad()
def _fill(module: torch.nn.Module, saved: Saved) -> None:
    for name, p in module.named_parameters():
        p.copy_(saved.read("weight", name, 0, p.numel()).view(p.shape))


def averaged(saved: Mapping[str, Saved]) -> dict[str, Tensor]:
    """The averaged weights of all players, whole, named as the generator names them."""
    return {f"{player}.{name}": t for player, s in saved.items() for name, t in s.whole("average").items()}
