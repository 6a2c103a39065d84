"""Every route, with what its OpenAPI allows and what it does not: no error of the server's own, and
answers as they are described."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving import serving

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance,
          response_schema_conformance]


@pytest.fixture(scope="module")
def described(demo_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that others may write to."""
    import shutil

    folder = tmp_path_factory.mktemp("contract")
    shutil.copytree(demo_index, folder / "index", ignore=shutil.ignore_patterns("*.sock"))
    (folder / "files").mkdir()
    with serving("-i", folder / "index", "--writable", folder / "files") as server:
        yield schemathesis.openapi.from_url(f"{server.client.base_url}openapi.json")
        log = "".join(server.said)
        assert "Traceback" not in log, log


def test_every_route_keeps_its_word(described: Any) -> None:
    tried = set()
    for result, mode in product(described.get_all_operations(), GenerationMode):
        operation = result.ok()

        @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck),
                  derandomize=True, database=None)
        @given(operation.as_strategy(generation_mode=mode))
        def keeps(case: Any) -> None:
            if case.method == "DELETE" and isinstance(case.body, dict):
                case.body = {"ids": [10**6]}  # the others need what is there
            # Of a longer head the connection is cut, perhaps before the answer is read.
            assume(len(urlencode(case.query or {}, doseq=True)) < 32_000)
            case.call_and_validate(checks=CHECKS, timeout=60)

        with suppress(Unsatisfiable):  # a route that takes nothing can be given nothing wrong
            keeps()
        tried.add((operation.method.upper(), operation.path))
    assert len(tried) >= 15, tried
