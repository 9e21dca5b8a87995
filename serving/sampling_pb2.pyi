from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class DrawRequest(_message.Message):
    __slots__ = ("generator", "n", "seed", "first", "asked")
    GENERATOR_FIELD_NUMBER: _ClassVar[int]
    N_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    generator: str
    n: int
    seed: int
    first: int
    asked: str
    def __init__(self, generator: _Optional[str] = ..., n: _Optional[int] = ..., seed: _Optional[int] = ..., first: _Optional[int] = ..., asked: _Optional[str] = ...) -> None: ...

class Part(_message.Message):
    __slots__ = ("arrow",)
    ARROW_FIELD_NUMBER: _ClassVar[int]
    arrow: bytes
    def __init__(self, arrow: _Optional[bytes] = ...) -> None: ...
