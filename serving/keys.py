"""The keys of a sampling service: who may draw from which generators, how much, and until when.

They lie in a YAML file that is its owner's alone, which ``artesian keys`` writes and a person may edit:

    keys:
    - id: 3fzk2m5q7xwa
      name: Ana of the data team
      hash: 64 hexadecimal digits
      generators: [adult, 'births@3']
      admin: false
      created: '2027-01-31T12:00:00Z'
      expires: '2027-04-30T12:00:00Z'
      rows_per_day: 1000000

It has hashes of the secrets, never a secret: a token, ``art_<id>_<secret>``, is shown once, when it is made.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from serving import private_file
from serving.settings import NAME
from synth.errors import UserError

_ID = re.compile(r"[A-Za-z0-9_-]{12}")
# Of the 43 characters for 32 bytes the last has two bits to spare. They are 0, so that a secret has one spelling.
_TOKEN = re.compile(rf"art_({_ID.pattern})_([A-Za-z0-9_-]{{42}}[AEIMQUYcgkosw048])")
_NAME = NAME.pattern
_REACH = re.compile(rf"\*|{_NAME}(@[1-9][0-9]{{0,8}}|:{_NAME})?")
_NOBODY = "0" * 64  # what a token of an unknown id is compared with
_QUOTED = 40  # characters; what is longer may be a token or a hash, and is not repeated in a message
_SAID = {"missing": "is missing", "tuple_type": "must be a list", "model_type": "must be a key, with its fields"}
_MODEL = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Refused(ValueError):  # noqa: N818  (an answer, and no error of the service)
    """A token does not open anything. The message is for whoever sent it, and has nothing of it."""


def _time(value: object) -> datetime:
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        if found.tzinfo is not None:
            return found.astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError):  # OverflowError: the year 0 or 10000, once it is in UTC
        pass
    raise ValueError("write a time with its zone, as in 2027-01-31T12:00:00Z")


Time = Annotated[datetime, BeforeValidator(_time)]
Limit = Annotated[int, Field(gt=0, le=10**15)]  # far below 2^53, so that a quota counts single rows


class Key(BaseModel):
    """A key, without its secret. Times are in UTC, to the second."""

    model_config = _MODEL
    id: str = Field(pattern=f"^{_ID.pattern}$")
    name: str = Field(min_length=1, max_length=100)
    # SHA-256 of the secret. What makes a hash of passwords slow protects what people can remember and others can guess;
    # nobody guesses 32 random bytes, so a fast one is right, and leaves no lever for those who send many wrong tokens.
    hash: str = Field(pattern="^[0-9a-f]{64}$", repr=False)
    generators: tuple[str, ...] = Field(min_length=1)
    admin: bool = False
    created: Time
    expires: Time | None = None
    revoked: Time | None = None
    rows_per_day: Limit | None = None
    requests_per_minute: Limit | None = None

    @field_validator("name")
    @classmethod
    def _printable(cls, name: str) -> str:
        if not name.isprintable() or not name.strip():
            raise ValueError("must be text of one line that can be printed")
        return name

    @field_validator("generators")
    @classmethod
    def _reaches(cls, generators: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [one for one in generators if not _REACH.fullmatch(one)]:
            raise ValueError(f"entry {generators.index(wrong[0]) + 1}: write adult, adult@3, adult:production or *")
        return generators

    @model_validator(mode="after")
    def _lives(self) -> Self:
        if self.expires is not None and self.expires < self.created:
            raise ValueError("expires: is before created")
        return self

    def may(self, generator: str) -> bool:
        """Whether the key reaches ``adult``, ``adult@3`` or ``adult:production``, as it is asked for.

        A generator that is listed without a version or an alias is reached by all of its versions and aliases; what is
        listed with one is reached by this name alone, whatever an alias stands for.
        """
        name = generator.partition("@")[0].partition(":")[0]
        return not {"*", name, generator}.isdisjoint(self.generators)

    def over(self, now: datetime) -> str | None:
        """Why the key opens nothing any more, as in ``was revoked on …``; None while it does."""
        if self.revoked is not None and now >= self.revoked:
            return f"was revoked on {_told(self.revoked)}"
        if self.expires is not None and now >= self.expires:
            return f"expired on {_told(self.expires)}"
        return None


class Keys(BaseModel):
    """All keys of a service. They are not changed: ``add``, ``revoke`` and ``rotate`` give others."""

    model_config = _MODEL
    keys: tuple[Key, ...]

    @cached_property
    def by_id(self) -> dict[str, Key]:
        return {key.id: key for key in self.keys}

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(self.by_id) < len(self.keys):
            twice = next(key.id for key in self.keys if self.by_id[key.id] is not key)
            raise ValueError(f"two of them have the id {twice}; remove one")
        return self

    @classmethod
    def load(cls, path: private_file.Place) -> Keys:
        """Read a keys file.

        Raises UserError, with the line and the field, for what is wrong in it, and for a file that is not there or that
        others than its owner can read or write.
        """
        try:
            document = private_file.read(path)
        except FileNotFoundError as e:
            raise UserError(f"{path}: there is no such keys file; make it with artesian keys add") from e
        if not isinstance(document.content, dict):
            raise UserError(f"{path}: is no keys file, which begins with keys:")
        try:
            return cls.model_validate(document.content)
        except ValidationError as e:
            found = sorted((document.line(error["loc"]), _problem(error)) for error in e.errors())
            raise UserError("\n".join(f"{path}, line {line}: {problem}" for line, problem in found)) from e

    def save(self, path: private_file.Place) -> None:
        """Write the file anew, whole or not at all, for its owner alone. To change keys that others may be changing too,
        use ``serving.key_file.edit``. Raises UserError where it cannot be written."""
        with private_file.locked(path):
            private_file.write(path, self.text())

    def text(self) -> str:
        """The file's content."""
        listed = [key.model_dump(mode="json", exclude_none=True) for key in self.keys]
        return yaml.safe_dump({"keys": listed}, sort_keys=False, allow_unicode=True, default_flow_style=None)

    def find(self, id: str) -> Key:
        """The key of this id. Raises UserError where there is none."""
        if id in self.by_id:
            return self.by_id[id]
        shown = f"{id}: " if _ID.fullmatch(id) else ""  # what is no id may be a token
        raise UserError(f"{shown}no key has this id, of 12 characters; artesian keys list shows those that there are")

    def add(
        self, *, name: str, generators: Sequence[str], now: datetime, expires: datetime | None = None,
        admin: bool = False, rows_per_day: int | None = None, requests_per_minute: int | None = None,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> tuple[Keys, str]:  # fmt: skip
        """With a key more, and its token, which nobody can learn from the keys. UserError for a value that is not allowed."""
        # In letters and digits: an id that began with a dash would be an option to a command.
        id, secret = base64.b32encode(random(8))[:12].decode().lower(), random(32)
        assert id not in self.by_id and len(secret) == 32
        try:
            key = Key(
                id=id, name=name, hash=_hash(secret), generators=tuple(generators), admin=admin, created=now,
                expires=expires, rows_per_day=rows_per_day, requests_per_minute=requests_per_minute,
            )  # fmt: skip
        except ValidationError as e:
            raise UserError("\n".join(_problem(error) for error in e.errors())) from e
        return Keys(keys=(*self.keys, key)), f"art_{id}_{base64.urlsafe_b64encode(secret).decode().rstrip('=')}"

    def revoke(self, id: str, *, now: datetime) -> Keys:
        """With a key that opens nothing from ``now`` on, or from earlier if it was revoked. UserError for an unknown id."""
        key, now = self.find(id), _time(now)
        return self._with(key.model_copy(update={"revoked": min(now, key.revoked or now)}))

    def rotate(
        self, id: str, overlap: timedelta, *, now: datetime, random: Callable[[int], bytes] = secrets.token_bytes
    ) -> tuple[Keys, str]:
        """With a new key of the same rights, and its token; the old one expires after the overlap, if not before.

        A key that was to live for so many days is followed by one that will live for as many. UserError for an unknown id,
        and for a key that is over.
        """
        old, now = self.find(id), _time(now)
        if over := old.over(now):
            raise UserError(f"{id}: {over}, and has no rights to hand on; add a new key")
        until, expires = now + overlap, None
        if old.expires is not None:
            until, expires = min(until, old.expires), now + (old.expires - old.created)
        return self._with(old.model_copy(update={"expires": until})).add(
            name=old.name, generators=old.generators, now=now, expires=expires, admin=old.admin,
            rows_per_day=old.rows_per_day, requests_per_minute=old.requests_per_minute, random=random,
        )  # fmt: skip

    def _with(self, changed: Key) -> Keys:
        return Keys(keys=tuple(changed if key.id == changed.id else key for key in self.keys))

    def check(self, token: str, now: datetime) -> Key:
        """The key that a token proves. Raises Refused; only who holds the secret learns that a key is over."""
        match = _TOKEN.fullmatch(token)  # which looks at no more characters than a token has
        if match is None:
            raise Refused("the key is not known here")
        key, given = self.by_id.get(match[1]), _hash(base64.urlsafe_b64decode(f"{match[2]}="))
        same = hmac.compare_digest(given, _NOBODY if key is None else key.hash)  # as long for an id that is not known
        if key is None or not same:
            raise Refused("the key is not known here")
        if over := key.over(now):
            raise Refused(f"the key {over}; ask who runs this service for a new one")
        return key


def _problem(error: Any) -> str:
    field = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        known = list((Key if len(error["loc"]) > 1 else Keys).model_fields)
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        return f"unknown field {field}; " + (f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}")
    value = error["input"]
    shown = f"={value!r}" if isinstance(value, str | int) and len(str(value)) <= _QUOTED else ""
    said = _SAID.get(error["type"], error["msg"].removeprefix("Value error, "))
    return f"{field}{shown}: {said}".removeprefix(": ")


def _hash(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()


def _told(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
