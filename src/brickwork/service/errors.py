"""Failures in OpenAI's form: ``{"error": {"message", "type", "param", "code"}}``, whatever went wrong."""

from collections.abc import Mapping
from typing import Any

from fastapi import HTTPException
from fastapi.responses import JSONResponse

from brickwork.core.errors import BrickworkError, ConfigError, DataError, ResourceError
from brickwork.core.text import clean_text

INVALID = "invalid_request_error"


class ApiError(HTTPException):
    """A failure that the client is told of, with its status."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = INVALID,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(status, message, dict(headers or {}))
        self.body = error_body(message, type=type, param=param, code=code)

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status_code, self.headers)


def error_body(
    message: str, *, type: str = INVALID, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """The body of a failed request; what a client sent may be in the message, lone surrogates too."""
    return {"error": {"message": clean_text(message), "type": type, "param": param, "code": code}}


def overloaded(retry_after: int) -> ApiError:
    """The queue is full."""
    return ApiError(
        429,
        f"The server has as much work waiting as it takes; try again in {retry_after} s.",
        type="rate_limit_error",
        code="rate_limit_exceeded",
        headers={"Retry-After": str(retry_after)},
    )


def late(seconds: float) -> ApiError:
    """No answer in time."""
    return ApiError(
        503,
        f"No answer within {seconds:g} s; the work was dropped. Send fewer texts at a time, or try again later.",
        type="server_error",
        code="timeout",
        headers={"Retry-After": "5"},
    )


def from_http(error: Any) -> JSONResponse:
    """The answer to a failure that the framework raised: no such page, another method, a body that is no JSON."""
    if isinstance(error, ApiError):
        return error.response()
    messages = {
        404: ("There is nothing at this address; /openapi.json lists what there is.", "unknown_url"),
        405: ("This address does not take that method.", "method_not_allowed"),
    }
    message, code = messages.get(error.status_code, (str(error.detail), None))
    return JSONResponse(error_body(message, code=code), error.status_code, error.headers)


def from_validation(problems: list[dict[str, Any]]) -> JSONResponse:
    """The answer to a body that does not fit the description: names the field, never shows what it held."""
    problem = problems[0]
    if problem["type"] == "json_invalid":
        return JSONResponse(
            error_body(
                f"We could not parse the JSON body of your request ({problem['ctx']['error']} at character "
                f"{problem['loc'][-1]})."
            ),
            400,
        )
    # Behind the field, pydantic names the branch of a union that it tried: of no use to anyone.
    field = next((str(part) for part in problem["loc"][1:]), None)
    if problem["type"] == "extra_forbidden":
        return JSONResponse(
            error_body(
                f"Unrecognized request argument supplied: {field}", param=field, code="unknown_parameter"
            ),
            400,
        )
    if problem["type"] == "missing":
        message = (
            f"'{field}' is missing"
            if field
            else "The request needs a JSON body (Content-Type: application/json)"
        )
        return JSONResponse(error_body(f"{message}.", param=field, code="missing_required_parameter"), 400)
    if field is None and problem["type"] in ("model_attributes_type", "model_type"):
        message = "The body must be a JSON object, sent with the header 'Content-Type: application/json'."
        return JSONResponse(error_body(message, code="invalid_type"), 400)
    reason = str(problem["msg"]).rstrip(".")
    where = f"'{field}': {reason}" if field else reason
    return JSONResponse(error_body(f"{where}.", param=field, code=_code(problem)), 400)


def _code(problem: dict[str, Any]) -> str:
    kind = str(problem["type"])
    if kind == "token_ids":
        return kind
    return "invalid_type" if kind.endswith("_type") else "invalid_value"


def from_brickwork(error: BrickworkError) -> JSONResponse:
    """The answer to what the library refused: the client's mistake, or a fault of the machine."""
    if isinstance(error, ConfigError | DataError):
        return JSONResponse(error_body(f"{error}.", code="invalid_value"), 400)
    if isinstance(error, ResourceError):
        headers = {"Retry-After": "5"}
        return JSONResponse(error_body(f"{error}.", type="server_error", code="unavailable"), 503, headers)
    return JSONResponse(error_body(f"{error}.", type="server_error", code="server_error"), 500)
