"""What was scored of a trial, kept so that finalists, variants and the release are exactly that: weights, codec, facts.

One safetensors file; what is no tensor is JSON in its header.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from cluster import storage
from synth.data.codec import Codec
from synth.data.schema import Schema
from synth.errors import UserError

MODELS = "models"  # the folder of a study that holds them


@dataclass(frozen=True)
class Kept:
    """Averaged weights by name, the codec they go with, and what the run said of itself when they were saved."""

    weights: Mapping[str, Tensor]
    codec: Codec
    facts: Mapping[str, Any]

    def save(self, study: str, name: str) -> None:
        """Under a name in the folder of a study."""
        about = {"codec": self.codec.model_dump_json(), "facts": json.dumps(dict(self.facts))}
        tensors = {name: tensor.contiguous() for name, tensor in self.weights.items()}
        storage.write_bytes(_file(study, name), safetensors.torch.save(tensors, metadata=about))

    @classmethod
    def load(cls, study: str, name: str, schema: Schema) -> Kept:
        """UserError where it is not there, or damaged."""
        place = _file(study, name)
        content = storage.read_bytes(place)
        try:
            header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
            codec = Codec.model_validate(json.loads(header["codec"]) | {"table": schema})
            return cls(safetensors.torch.load(content), codec, json.loads(header["facts"]))
        except (SafetensorError, ValueError, KeyError, TypeError) as e:
            name = storage.without_credentials(place)
            raise UserError(f"{name}: is damaged ({e}); start the study anew with --overwrite") from e


def _file(study: str, name: str) -> str:
    return storage.join(study, f"{MODELS}/{name}.safetensors")
