"""How a job is made, or an existing one taken up."""

import uuid
from typing import Any, Callable, Mapping, Optional

from . import _texts
from ._http import RefusedError, UnavailableError, job_path
from ._reporter import Call, Opened
from ._stop import is_stop_code
from ._texts import as_number, as_object, fit, fit_shown, plain


def _read_job(answer: Mapping[str, Any]) -> "tuple[Opened, object]":
    job_id, attempt = answer.get("id"), answer.get("attempt")
    if not isinstance(job_id, str) or not isinstance(attempt, int):
        raise UnavailableError("The answer contains no job.")
    opened = Opened(
        job_id,
        attempt,
        cancel_requested=answer.get("cancelRequestedAt") is not None,
        has_stages=isinstance(answer.get("stages"), list),
    )
    return opened, answer.get("status")


def _unless_changed(calls: Callable[[], Opened]) -> Opened:
    """Makes calls that depend on the job's state. If another worker has changed the state in
    between, all of them may be repeated."""
    try:
        return calls()
    except RefusedError as error:
        if is_stop_code(error.code) or error.code == "not_retryable":
            raise UnavailableError(str(error)) from error
        raise


def creating(
    body: Mapping[str, Any], key: Optional[str], restart: bool
) -> "Callable[[Call], Opened]":
    """Makes the job, or finds the one with the same key. One that has failed begins its next
    attempt. With `restart` any job that is not completed does."""
    # The same key makes no second job where the answer to the first call was lost.
    headers = {"idempotency-key": _header(key) or str(uuid.uuid4())}

    def open_job(call: Call) -> Opened:
        found, status = _read_job(call("/jobs", body, headers))
        # A job that was asked to stop is left alone, so that the request is not lost when its
        # worker has died.
        is_taken = restart and status == "running" and not found.cancel_requested
        is_over = status == "failed" or (restart and status == "cancelled")
        if not is_taken and not is_over:
            return found
        path = job_path(found.id)

        def next_attempt() -> Opened:
            if is_taken:
                message = "Another worker restarted the job before its worker had ended it."
                call(f"{path}/fail", {"attempt": found.attempt, "errorMessage": message})
            return _read_job(call(f"{path}/retry", {}))[0]

        return _unless_changed(next_attempt)

    return open_job


def _header(value: Optional[str]) -> str:
    """A key as a header can carry it."""
    text = _texts.as_text(value) if value is not None else ""
    return text.encode("ascii", "backslashreplace").decode()[:255].strip()


def attaching(
    job_id: str, attempt: Optional[int], worker_id: Optional[str]
) -> "Callable[[Call], Opened]":
    """Takes up a job, or a partition, that was created elsewhere."""
    path = job_path(job_id)
    body: "dict[str, Any]" = {} if attempt is None else {"attempt": attempt}
    named = body if worker_id is None else {**body, "workerId": worker_id}

    def open_job(call: Call) -> Opened:
        # First a heartbeat: only a heartbeat recovers a job that ended as stale.
        call(f"{path}/heartbeat", named)
        return _read_job(call(f"{path}/start", body))[0]

    return open_job


def creation_of(fields: Mapping[str, Any], program: str) -> "dict[str, Any]":
    """The body of `POST /jobs`, from fields under the names of the API. None is left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    what = fit_shown(program, _texts.JOB_TYPE) or "script"
    body = {name: plain(value) for name, value in given.items()}
    body["name"] = fit_shown(_named(given.get("name")), _texts.NAME) or what
    if "parentJobId" not in given:
        body["jobType"] = fit_shown(given.get("jobType"), _texts.JOB_TYPE) or what
    if "description" in given:
        body["description"] = fit(given["description"], _texts.DESCRIPTION)
    if "unit" in given:
        body["unit"] = fit_shown(given["unit"], _texts.UNIT) or "unknown"
    if "meta" in given:
        body["meta"] = as_object(given["meta"]) or {}
    if "totalCount" in given:
        total = as_number(given["totalCount"])
        # A total that is no count is unknown.
        if total is None or total < 0 or total != int(total):
            del body["totalCount"]
        else:
            body["totalCount"] = int(total)
    if "stages" in given:
        stages = _stages(given["stages"])
        del body["stages"]
        if stages:
            body["stages"] = stages
            body.pop("totalCount", None)  # Totals of stages come with the reports.
    return body


def _named(value: object) -> object:
    return value if value is None or isinstance(value, str) else _texts.as_text(value)


def _stages(given: object) -> "list[dict[str, Any]]":
    """Stages are given as names, or as pairs of a name and a weight. Their names are shortened as
    those of reports are; a stage without a name is left out."""
    stages: "list[dict[str, Any]]" = []
    for each in given if isinstance(given, (list, tuple)) else []:
        if isinstance(each, dict):
            name, weight = each.get("name"), each.get("weight")
        elif isinstance(each, (list, tuple)) and len(each) == 2:
            name, weight = each
        else:
            name, weight = each, None
        fitting = fit_shown(name, _texts.STAGE)
        number = as_number(weight)
        if fitting:
            stages.append(
                {"name": fitting} if number is None else {"name": fitting, "weight": number}
            )
    return stages
