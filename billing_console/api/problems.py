"""What goes wrong, as problem documents (RFC 9457): a stable code for programs, words in the caller's language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from billing_console.errors import (
    BillingError,
    Conflict,
    InvalidInput,
    NotFound,
    NotPermitted,
    Refused,
    Unavailable,
    Uncertain,
)
from billing_console.i18n import N_, _
from billing_console.services.holds import ModelDisabled, PoolDepleted, QuotaExceeded
from billing_console.text import clean, one_line, to_json

MEDIA_TYPE = "application/problem+json"

TITLES: dict[str, tuple[int, str]] = {
    "quota_exceeded": (402, N_("The user's quota is used up")),
    "unauthorized": (401, N_("No token that holds")),
    "forbidden": (403, N_("Not allowed with this token")),
    "not_found": (404, N_("Not found")),
    "method_not_allowed": (405, N_("Not that method here")),
    "conflict": (409, N_("In conflict with what is there")),
    "refused": (409, N_("Refused by a rule of the ledger")),
    "model_disabled": (409, N_("The model is disabled")),
    "too_large": (413, N_("The request is too large")),
    "invalid": (422, N_("The request is not right")),
    "too_many_failures": (429, N_("Too many requests without a token that holds")),
    "internal": (500, N_("An error in the program")),
    "unavailable": (503, N_("The ledger cannot answer now")),
    "uncertain": (503, N_("It is unknown whether the change was made")),
    "pool_depleted": (503, N_("The provider's pool is used up")),
    "overloaded": (503, N_("Too many requests at once")),
}
"""Every code, its status, and what it stands for."""

_BY_KIND: tuple[tuple[type[BillingError], str], ...] = (
    (QuotaExceeded, "quota_exceeded"),
    (ModelDisabled, "model_disabled"),
    (PoolDepleted, "pool_depleted"),
    (NotFound, "not_found"),
    (Conflict, "conflict"),
    (Refused, "refused"),
    (InvalidInput, "invalid"),
    (NotPermitted, "forbidden"),
    (Uncertain, "uncertain"),
    (Unavailable, "unavailable"),
)
_BY_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}

FieldError = Mapping[str, str]


class Problem(Exception):
    """Ends a request with a problem document."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        hint: str = "",
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Keep one of the codes of `TITLES`, what happened and what to do next; `errors` name fields."""
        super().__init__(code)
        self.code, self.detail, self.hint = code, detail, hint
        self.errors, self.headers = tuple(errors), dict(headers or {})


def field_error(field: str, message: str) -> FieldError:
    """Return what is wrong with one field."""
    return {"field": clean(field), "message": message}


def answer(problem: Problem, request_id: str) -> Response:
    """Spell a problem in the language in force."""
    status, title = TITLES[problem.code]
    body: dict[str, Any] = {
        "type": f"urn:billing-console:problem:{problem.code}",
        "title": _(title),
        "status": status,
        "detail": problem.detail or _(title),
        "code": problem.code,
        "requestId": request_id,
    }
    if problem.hint:
        body["hint"] = problem.hint
    if problem.errors:
        body["errors"] = list(problem.errors)
    return Response(to_json(body), status, problem.headers, MEDIA_TYPE)


def of_billing_error(error: BillingError) -> Problem:
    """Turn a failure of a service into a problem."""
    code = next(code for kind, code in _BY_KIND if isinstance(error, kind))
    errors = [field_error(error.field, error.message)] if isinstance(error, InvalidInput) and error.field else []
    headers = {"Retry-After": "1"} if code in ("unavailable", "uncertain") else None
    return Problem(code, error.message, hint=error.hint, errors=errors, headers=headers)


_WORDS = {
    "missing": N_("%(field)s is required."),
    "extra_forbidden": N_("There is no %(field)s here."),
    "int_parsing": N_("%(field)s is not a whole number."),
    "int_from_float": N_("%(field)s is not a whole number."),
    "int_type": N_("%(field)s is not a whole number."),
    "bool_parsing": N_("%(field)s is neither true nor false."),
    "decimal_parsing": N_("%(field)s is not a number like 1234.50."),
    "decimal_type": N_("%(field)s is not a number like 1234.50."),
    "string_type": N_("%(field)s is not text."),
    "string_too_short": N_("%(field)s is empty."),
}
"""What pydantic calls the commonest mistakes, in words of ours."""
_OTHERWISE = N_("%(field)s is not right.")


def of_pydantic(errors: Sequence[Any], prefix: str = "") -> list[FieldError]:
    """Say what pydantic found, each with the name of the field as the caller wrote it."""
    found = []
    for error in errors:
        place = [part for part in error["loc"] if part not in ("query", "path", "header", "body")]
        field = prefix + ".".join(map(str, place)) or str(error["loc"][-1])
        context = error.get("ctx", {})
        if error["type"] == "enum":
            words = _("%(field)s is none of: %(names)s.") % {"field": one_line(field), "names": context["expected"]}
        elif "ge" in context or "le" in context:
            words = _("%(field)s is too small or too large: %(rule)s.") % {
                "field": one_line(field),
                "rule": " ".join(
                    f"{sign} {context[name]}" for name, sign in (("ge", "≥"), ("le", "≤")) if name in context
                ),
            }
        else:
            message = _WORDS.get(error["type"], _OTHERWISE)
            words = _(message) % {"field": one_line(field)}
        found.append(field_error(field, words))
    return found


def install(app: FastAPI) -> None:
    """Let every failure of the app end in a problem document."""

    def give(request: Request, problem: Problem) -> Response:
        return answer(problem, request.state.request_id)

    async def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return give(request, error)

    async def billing_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, BillingError)
        return give(request, of_billing_error(error))

    async def wrong_parameters(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = of_pydantic(error.errors())
        return give(request, Problem("invalid", errors[0]["message"], errors=errors))

    async def http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return give(request, Problem(_BY_STATUS.get(error.status_code, "invalid"), headers=error.headers))

    async def internal(request: Request, error: Exception) -> Response:
        return give(request, Problem("internal", _("The log of the server says why, by the request id.")))

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(BillingError, billing_error)
    app.add_exception_handler(RequestValidationError, wrong_parameters)
    app.add_exception_handler(HTTPException, http_exception)
    app.add_exception_handler(Exception, internal)
