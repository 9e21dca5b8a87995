"""Every answer to whatever the OpenAPI document allows, and to what it does not, is one that the document has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from serving import jobs as jobs_module
from tests.serving.service import Service, key
from tests.serving.test_routes_jobs import Parts, over

CHECKS = [
    not_a_server_error, status_code_conformance, response_schema_conformance, response_headers_conformance,
    negative_data_rejection, unsupported_method, ignored_auth,
]  # fmt: skip
KNOWN = {"name": "people", "alias": "beta"}  # which strings of the document's patterns hardly ever are


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    file = tmp_path_factory.mktemp("keys") / "keys.yaml"
    return file, key(file, admin=True)


@pytest.fixture(scope="module")
def api(
    people: Path, others: Path, token: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[schemathesis.BaseSchema]:
    generators = {"people": {"versions": {1: str(people), 2: str(others)}}}
    limits = {"rows": 300, "job_rows": 1_000}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(jobs_module, "parts", Parts)
        service = Service.of(generators, tmp_path_factory.mktemp("state"), keys=str(token[0]), limits=limits)
        found = schemathesis.openapi.from_asgi("/openapi.json", service.app)
        found.config.checks.negative_data_rejection.expected_statuses += ["413"]  # of what is too long to be looked at
        yield found
        over()


@pytest.mark.parametrize("known", [True, False], ids=["known names", "any names"])
@pytest.mark.parametrize("mode", GenerationMode)
def test_every_answer_is_in_the_document(
    api: schemathesis.BaseSchema, token: tuple[Path, str], mode: GenerationMode, known: bool
) -> None:
    asked = 0
    for found in api.get_all_operations():
        operation = found.ok()
        if mode.is_negative and not (
            operation.path_parameters or operation.body
        ):  # what takes nothing takes nothing wrong
            continue
        names = {parameter.name for parameter in operation.path_parameters}
        fixed: dict[str, Any] = {name: value for name, value in KNOWN.items() if known and name in names}

        @given(case=operation.as_strategy(mode, path_parameters=fixed or None))
        @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        def every(case: Case) -> None:
            nonlocal asked
            asked += 1
            case.call_and_validate(headers={"Authorization": f"Bearer {token[1]}"}, checks=CHECKS)

        every()
    assert asked > 50
