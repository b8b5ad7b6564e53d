"""The service against its own description: schemathesis makes requests from it, good and bad, and reads the answers.

Left out is the check that every request which fits the description is answered by 2xx: how long a text may be and
which sizes there are depends on the model, and the description is the same for all.
"""

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    missing_required_header,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from brickwork.service.config import ServiceConfig
from brickwork.service.keys import digest
from running_server import running

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    missing_required_header,
    unsupported_method,
    ignored_auth,
]
KEY = "a-first-key-of-some-length"
HEADERS = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def schema(index_folder, tmp_path_factory):
    config = ServiceConfig(target=str(index_folder), keys=(digest(KEY),))
    with running(config, tmp_path_factory.mktemp("log") / "log") as server:
        yield schemathesis.openapi.from_url(f"{server.url}/openapi.json", headers=HEADERS)
        assert not server.lines("error")
        assert server.stop() == 143


OPERATIONS = ["POST /v1/embeddings", "POST /v1/search", "GET /v1/thumbnail", "GET /v1/neighbours", "GET /v1/models",
              "GET /v1/models/{model}", "GET /health", "GET /health/live", "GET /health/ready",
              "GET /metrics", "POST /admin/reload"]  # fmt: skip


def test_all_operations_are_tried(schema):
    assert sorted(result.ok().label for result in schema.get_all_operations()) == sorted(OPERATIONS)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["good", "bad"])
@pytest.mark.parametrize("label", OPERATIONS)
def test_answers_are_as_described(schema, label, mode):
    operation = next(result.ok() for result in schema.get_all_operations() if result.ok().label == label)
    examples = 60 if operation.body else 4

    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(operation.as_strategy(generation_mode=mode))
    def check(case):
        case.call_and_validate(headers=HEADERS, checks=CHECKS)

    try:
        check()
    except hypothesis.errors.Unsatisfiable:
        assert mode is GenerationMode.NEGATIVE, "an operation without parameters cannot be asked wrongly"
