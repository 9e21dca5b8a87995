"""Where drawn rows come from, signed by who drew them.

An origin says enough to draw the same rows again (release, seed, which rows, what was asked) and, once they are somebody's
training data, how far from real rows that is. It travels in an answer's headers and with a file: in its metadata where the
format has some, else in a file beside it. It vouches for itself alone, for the first bytes leave before the last rows are
drawn: who doubts the rows draws them again.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from synth.errors import UserError
from synth.provenance import keys
from synth.provenance.manifest import Manifest, Sha256, canonical_json

if TYPE_CHECKING:
    import pyarrow as pa

    from synth.provenance.watermark import Mark

PREFIX = "artesian."  # of the metadata's keys: a table's schema may have others
MOST_ASKED = 2_048  # bytes: all headers together should stay below the 8 KB that proxies let pass


class OriginError(UserError):
    """What is no origin, or was altered since it was signed."""


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC)


def _public_key(text: str) -> str:
    if len(_decoded(text)) != 32:
        raise ValueError("not a public key: 32 bytes in base64")
    return text


class Origin(BaseModel):
    """Rows ``first`` … ``first + rows − 1`` of the endless table of ``release`` and ``seed``, and of what was asked.

    ``asked`` is what was asked as it was (``where``, ``balance``, …; ``filled`` is the hash of a table whose gaps these rows
    fill): nothing ({}), or None where that is longer than MOST_ASKED; ``key`` is ``synth.asking``'s for it or, of a table
    that was filled, its hash, None where nothing was asked. ``version`` is the release's under its
    ``name`` in the service, None for rows that no service drew. ``depth`` is the rows' generation depth, one more than the
    generator's, and ``real_fraction`` the share of real rows in what that saw. ``signer`` is the public key of who drew them,
    in base64. ``mark`` is the id of the watermark that the rows carry (see ``synth.provenance.watermark``), None of those that
    carry none, whose origins do not speak of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["artesian-origin/1"] = "artesian-origin/1"
    release: Sha256
    name: str
    version: str | None
    seed: int = Field(ge=0, lt=2**64)
    first: int = Field(ge=0)
    rows: int = Field(ge=0)
    key: str | None
    asked: dict[str, JsonValue] | None
    depth: int = Field(ge=1)
    real_fraction: float = Field(ge=0, le=1)
    at: Annotated[AwareDatetime, AfterValidator(_utc)]
    signer: Annotated[str, AfterValidator(_public_key)]
    mark: str | None = None

    @model_validator(mode="after")
    def _key_stands_for_what_was_asked(self) -> Self:
        if (self.key is None) != (self.asked == {}):
            raise ValueError("what was asked has a key, and nothing else has")
        return self

    @classmethod
    def of(
        cls, manifest: Manifest, *, version: str | None, seed: int, first: int, rows: int, key: str | None,
        asked: Mapping[str, Any], at: datetime, public_key: bytes, depth: int = 0, mark: Mark | None = None,
    ) -> Origin:  # fmt: skip
        """The origin of rows drawn from a release or, of a ``depth`` already, filled by it; ``asked`` is JSON, in which None,
        and all of it without a key, says that nothing was asked."""
        there = {} if key is None else {name: value for name, value in asked.items() if value is not None}
        return cls(
            release=manifest.id, name=manifest.name, version=version, seed=seed, first=first, rows=rows, key=key,
            asked=there if len(canonical_json(there)) <= MOST_ASKED else None, depth=max(depth, manifest.generation_depth + 1),
            real_fraction=manifest.real_fraction, at=at, signer=base64.b64encode(public_key).decode("ascii"),
            mark=None if mark is None else mark.id,
        )  # fmt: skip

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        return _decoded(self.signer)

    def canonical(self) -> bytes:
        """The bytes that are signed."""
        return canonical_json(self.model_dump(mode="json", exclude={"mark"} if self.mark is None else None))

    def sign(self, key: Ed25519PrivateKey) -> str:
        """The signature in base64, with the key whose public half is the signer."""
        assert key.public_key().public_bytes_raw() == self.public_key
        return base64.b64encode(key.sign(self.canonical())).decode("ascii")

    @classmethod
    def verify(cls, text: bytes, signature: str) -> Origin:
        """The origin that ``text`` spells. Raises OriginError where that is none, or ``signature`` not its signer's."""
        try:
            origin, made = cls.model_validate_json(text), _decoded(signature)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = "".join(f"{part}: " for part in first["loc"])
            raise OriginError(f"not an origin that this version reads: {where}{first['msg']}") from error
        if not keys.verify(text, made, origin.public_key):
            raise OriginError("the origin is not as it was signed: altered on the way; ask for the rows again")
        return origin

    def headers(self, signature: str) -> dict[str, str]:
        """The headers of an answer: letters, digits and signs of ASCII alone, whatever a name holds."""
        _decoded(signature)
        return {
            "Artesian-Release": self.release,
            "Artesian-Seed": str(self.seed),
            "Artesian-Rows": f"{self.first}-{self.first + self.rows - 1}" if self.rows else "none",
            "Artesian-Depth": str(self.depth),
            "Artesian-Origin": base64.urlsafe_b64encode(self.canonical()).decode("ascii"),
            "Artesian-Signature": signature,
        }

    def metadata(self, signature: str) -> dict[str, str]:
        """What is written into the metadata of Parquet and Arrow, or in a file beside another, under names of its own."""
        return {f"{PREFIX}origin": self.canonical().decode("utf-8"), f"{PREFIX}signature": signature}

    @classmethod
    def read(cls, found: Mapping[str, str] | Mapping[bytes, bytes] | None) -> tuple[Origin, keys.Signer]:
        """The origin in an answer's headers or in the metadata of an Arrow schema, such as ``pyarrow.parquet`` reads from a
        file, and whose signature it carries, as far as this machine knows.

        Raises OriginError where there is none, or any part of it was altered; UserError where the keys that are known
        here cannot be read.
        """
        given = {_bytes(name).lower(): _bytes(value) for name, value in ({} if found is None else found).items()}
        text, signature = given.get(f"{PREFIX}origin".encode()), given.get(f"{PREFIX}signature".encode())
        if text is None and b"artesian-origin" in given:
            text, signature = _decoded(given[b"artesian-origin"], b"-_"), given.get(b"artesian-signature")
        if text is None or signature is None:
            raise OriginError("there is no origin, or no signature of it: the rows are not the service's, or lost it")
        origin = cls.verify(text, signature.decode("latin-1"))
        spelt = origin.headers(signature.decode("latin-1"))
        for name, value in spelt.items():
            if given.get(name.lower().encode(), value.encode()) != value.encode():
                raise OriginError(f"{name} is not what the origin says: altered on the way; ask for the rows again")
        return origin, keys.signer(origin.public_key)


class Signed(NamedTuple):
    """An origin and its signature, for files."""

    origin: Origin
    signature: str

    @classmethod
    def of(
        cls, manifest: Manifest, *, seed: int, first: int, rows: int, key: str | None, asked: Mapping[str, Any],
        version: str | None = None, depth: int = 0, mark: Mark | None = None,
    ) -> Signed:  # fmt: skip
        """Of rows that are drawn from a release now, see ``Origin.of``, signed with this user's key."""
        own = keys.signing_key()
        origin = Origin.of(
            manifest, version=version, seed=seed, first=first, rows=rows, key=key, asked=asked, at=datetime.now(UTC),
            public_key=own.public_key().public_bytes_raw(), depth=depth, mark=mark,
        )  # fmt: skip
        return cls(origin, origin.sign(own))

    def into(self, schema: pa.Schema) -> pa.Schema:
        """A schema with it, of a file in a format that has metadata."""
        there = {} if schema.metadata is None else schema.metadata
        own = {name.encode(): text.encode() for name, text in self.origin.metadata(self.signature).items()}
        return schema.with_metadata({**there, **own})

    @property
    def beside(self) -> bytes:
        """The content of a file beside one in a format that has none."""
        return canonical_json(self.origin.metadata(self.signature))


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "replace")


def _decoded(text: str | bytes, altchars: bytes = b"+/") -> bytes:
    """Base64 in its only spelling; OriginError for any other text."""
    try:
        content = base64.b64decode(text, altchars, validate=True)
    except ValueError as error:
        raise OriginError("not base64: cut or altered on the way; ask for the rows again") from error
    if base64.b64encode(content, altchars) != _bytes(text):
        raise OriginError("base64 in another spelling: altered on the way; ask for the rows again")
    return content
