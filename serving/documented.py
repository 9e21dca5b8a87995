"""What the OpenAPI document says of answers that FastAPI cannot know of: rows in five formats, and problems."""

from __future__ import annotations

from typing import Any

from serving import problems
from serving.formats import FORMATS

TEXT = {"type": "string"}

_PROBLEM = {
    "description": "A problem as RFC 9457 has it, with a remedy where there is one.",
    "headers": {"Retry-After": {"description": "Of 429 and 503: seconds.", "schema": {"type": "integer", "minimum": 1}}},
    "content": {
        problems.MEDIA_TYPE: {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail"],
                "properties": {
                    "type": TEXT | {"format": "uri-reference"},
                    "title": TEXT,
                    "status": {"type": "integer", "minimum": 400, "maximum": 599},
                    "detail": TEXT,
                    "field": TEXT | {"description": "Where in the request, as a JSON pointer (RFC 6901)."},
                    "remedy": TEXT,
                    "instance": TEXT | {"description": "Of 500: by which the service's log has it."},
                    "errors": {"type": "array", "items": {"type": "object"}},
                },
            }
        }
    },
}  # fmt: skip

PROBLEMS: dict[int | str, dict[str, Any]] = {"4XX": _PROBLEM, "5XX": _PROBLEM}

_ROWS = {"type": "array", "items": {"type": "object"}}
_HEADERS = {
    "Artesian-Release": "The id of the release that the rows were drawn from.",
    "Artesian-Seed": "The seed: with it, the same rows come again.",
    "Artesian-Rows": "The first and the last row of the seed's table.",
    "Artesian-Depth": "1 where the release has learnt from real rows alone.",
    "Artesian-Origin": "All of that, and what was asked, in base64.",
    "Artesian-Signature": "Of the origin, by the key that it names.",
}

SAMPLES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The rows, as they are drawn. An answer that is cut has not all of them: it goes on with `first`.",
        "headers": {
            name: {"description": said, "required": True, "schema": TEXT} for name, said in _HEADERS.items()
        },
        "content": {
            format.media_type.partition(";")[0]: {
                "schema": _ROWS if format.name == "json" else TEXT if format.text else TEXT | {"format": "binary"}
            }
            for format in FORMATS.values()
        },
    }
}  # fmt: skip

PART: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file.",
        "content": {FORMATS["parquet"].media_type: {"schema": TEXT | {"format": "binary"}}},
    }
}

METRICS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "By the Accept header, in one of Prometheus's two formats.",
        "content": {"text/plain": {"schema": TEXT}, "application/openmetrics-text": {"schema": TEXT}},
    }
}

READY: dict[int | str, dict[str, Any]] = {
    503: {"description": "Not ready.", "content": {"application/json": {"schema": {"type": "object"}}}}
}
