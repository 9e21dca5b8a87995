"""What may be learnt from: a policy that the trainer holds to, and that names what breaks it.

Models that learn from their own samples collapse, and nothing in the rows says that they are samples; what says it is their
lineage. The file ``policy.yaml`` beside the signing key holds for every run of its user that names no other, and what it
leaves out is as below:

    depth: 1        # samples of generators that learnt from real rows alone, and no samples of samples
    real: 0.1       # a tenth of each batch are real rows, at least
    rows: 0         # distinct real rows, at least
    signers: any    # known: of the trusted keys; or a list of fingerprints; of rows and of all that they come from
    unlabelled: 0.01  # share of a table given as real that was drawn here and does not say so, at most; 1: do not look
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cluster import storage
from synth.errors import UserError
from synth.provenance import keys
from synth.provenance.lineage import Claim
from synth.provenance.recognition import Recognised

FILE = "policy.yaml"
ROUNDING = 1e-9  # of shares that add up
Fingerprint = Annotated[str, Field(pattern=r"^ed25519:[0-9a-f]{32}$")]


class PolicyError(UserError):
    """What a policy does not allow."""


class Policy(BaseModel):
    """Largest generation ``depth`` of any row, smallest share of ``real`` rows in a batch, smallest count of distinct real
    ``rows``, and whose origins synthetic rows must have, and whose signatures the releases that they come from: those of
    ``any`` key or of none, of the keys that are known here, or of these; and the largest share of a real table's rows that are
    known to have been drawn here, ``unlabelled`` as such."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    depth: int = Field(default=1, ge=0)
    real: float = Field(default=0.1, ge=0, le=1)
    rows: int = Field(default=0, ge=0)
    signers: Literal["any", "known"] | Annotated[list[Fingerprint], Field(min_length=1)] = "any"
    unlabelled: float = Field(default=0.01, ge=0, le=1)

    def accepts(self, signer: keys.Signer | None) -> bool:
        """Whether the signature of this signer, or of nobody, is enough."""
        if self.signers == "any":
            return True
        if signer is None:
            return False
        return signer.kind != "unknown" if self.signers == "known" else signer.fingerprint in self.signers

    def signers_remedy(self) -> str:
        """What to do about a signer who is not."""
        where = keys.trust_file() if self.signers == "known" else "the policy"
        return (
            "and the policy wants another signer (signers). Take rows whose origin one of its signers vouches for, or add this "
            f"one to {where}"
        )

    @classmethod
    def read(cls, place: str | None) -> Self:
        """The policy at ``place``; None: the user's, or the one above where there is none. UserError for what is no policy,
        and what nothing can meet."""
        if place is None:
            path = keys.config_dir() / FILE
            if not path.exists():
                return cls()
            place = str(path)
        name = storage.without_credentials(place)
        try:
            found = yaml.safe_load(storage.read_bytes(place))
        except yaml.YAMLError as e:
            raise UserError(f"{name}: is not YAML: {' '.join(str(e).split())}") from e
        if not isinstance(found, Mapping):
            raise UserError(f"{name}: is no mapping; write rules such as 'depth: 1', one a line")
        try:
            return cls.model_validate(found)
        except ValidationError as e:
            first = e.errors(include_url=False, include_input=False)[0]
            rule = str(first["loc"][0]) if first["loc"] else ""
            there = ", ".join(cls.model_fields)
            raise UserError(
                f"{name}: {rule}: {_told(found.get(rule), first)}; nothing can meet it. The rules are {there}"
            ) from e


def _told(value: Any, error: Any) -> str:
    return f"{value!r} ({error['msg'][0].lower()}{error['msg'][1:]})"


@dataclass(frozen=True)
class Input:
    """A table that is to be learnt from: how messages name it, what its files say, whether it was given as ``real`` rows, and
    its ``share`` of every batch."""

    name: str
    claims: Sequence[Claim]
    real: bool
    share: float

    @property
    def depth(self) -> int:
        """Of its rows: what their origins say and, where synthetic rows have none, the least that they can have."""
        return max([int(not self.real), *(claim.depth for claim in self.claims)])

    @property
    def deepest(self) -> Claim | None:
        """What is said of those of its rows that are farthest from real ones; None where nothing is."""
        return max((claim for claim in self.claims if claim.depth), key=lambda claim: claim.depth, default=None)

    @property
    def doubt(self) -> str:
        """See ``Claim.doubt``."""
        return "" if self.deepest is None else self.deepest.doubt

    def __str__(self) -> str:
        return f"{self.name}: synthetic rows" if self.deepest is None else f"{self.deepest.file}: {self.deepest}"


def check(policy: Policy, inputs: Sequence[Input], *, mixed: bool = True) -> None:
    """PolicyError for the first table that breaks a rule, with the rule and the remedy, of which --synthetic is none where
    tables cannot be ``mixed``."""
    for table in inputs:
        if table.depth > policy.depth:
            raise PolicyError(
                f"{table}: depth {table.depth}, and the policy allows {policy.depth} (depth). Take rows of a generator that is "
                f"nearer to real ones, or have the policy say depth: {table.depth}{table.doubt}"
            )
        for claim in table.claims if table.depth else ():
            if not policy.accepts(claim.signer):
                raise PolicyError(f"{claim.file}: {claim}, {policy.signers_remedy()}{claim.doubt}")
    real = sum(table.share for table in inputs if not table.depth)
    if real < policy.real - ROUNDING:
        made = next(table for table in inputs if table.depth)
        these = f" and these by --synthetic, with --mix {policy.real:g}" if mixed else ""
        raise PolicyError(
            f"{made}, which leaves {real:.3g} of each batch to real rows, and the policy wants {policy.real:g} (real). Give "
            f"real rows as DATA{these}; or have the policy say real: {real:.3g}{made.doubt}"
        )


def check_share(policy: Policy, name: str, real: float) -> None:
    """PolicyError where the share of ``real`` rows is too small, now that it is known to the row which are learnt from."""
    if real < policy.real - ROUNDING:
        raise PolicyError(
            f"{name}: {real:.3g} of each batch are real rows, of those that the split leaves to learn from, and the policy "
            f"wants {policy.real:g} (real). Give --mix {policy.real:g}, or have the policy say real: {real:.3g}"
        )


def check_rows(policy: Policy, name: str, keys: Iterable[NDArray[np.uint64]]) -> None:
    """PolicyError where too few of the real rows, of which ``keys`` are those of all that are learnt from, are distinct."""
    distinct = np.empty(0, np.uint64)
    for block in keys if policy.rows else ():
        distinct = np.union1d(distinct, block)
        if len(distinct) >= policy.rows:
            return
    if len(distinct) < policy.rows:
        raise PolicyError(
            f"{name}: {len(distinct):,} distinct real rows are learnt from, and the policy wants {policy.rows:,} (rows). Give "
            f"more of them, or have the policy say rows: {len(distinct)}"
        )


def check_recognised(policy: Policy, name: str, found: Recognised, *, mixed: bool = True) -> None:
    """PolicyError where more rows of a table that was given as real are known to be synthetic than the policy allows. Of test
    rows, and where tables cannot be ``mixed``, --synthetic is no remedy."""
    remedy = f"{'Give them by --synthetic, leave' if mixed else 'Leave'} them out, or have the policy say unlabelled:"
    for known in found.rows:
        if known.share > policy.unlabelled:
            raise PolicyError(
                f"{name}: was given as real rows, and {known}, as the log of drawn rows tells; the policy allows a share of "
                f"{policy.unlabelled:g} (unlabelled). {remedy} {min(1.0, known.share + 0.005):.2f}"
            )
    for mark in found.sure:
        raise PolicyError(
            f"{name}: was given as real rows, and carries {mark}; the policy allows a share of such rows of "
            f"{policy.unlabelled:g} (unlabelled). {remedy} 1"
        )
