"""Faults laid over an answer: what it says becomes wrong, or the manner in which it goes out.

Pure: an answer and faults in, an answer and a manner out. The books are never touched here, so what they say stays
the truth about a spoilt call.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import replace

from .faults import Fault, FaultKind
from .frame import DONE, Answer, Frame, Json, Part, Refusal, of_json, pretty
from .manner import Manner
from .spoil_usage import mangled, repeated, with_choices, without

PAGE = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>cloudflare</body>\r\n</html>\r\n"
EDGE = "upstream connect error or disconnect/reset before headers. reset reason: connection termination"
SERVER_ERROR = (
    "The server had an error processing your request. Sorry about that! You can retry your request, or contact us "
    "through our help center at help.openai.com if you keep seeing this error."
)
RATE_LIMIT = (
    "Rate limit reached for requests per min (RPM): Limit 500, Used 500, Requested 1. Please try again in 120ms. "
    "Visit https://platform.openai.com/account/rate-limits to learn more."
)


def spoil(answer: Answer, faults: Sequence[Fault], page: str | None = None) -> tuple[Answer, Manner]:
    """Lay the faults over an answer, one after the other; `page` is the cursor a Usage API request came with."""
    manner = Manner(
        kinds=tuple(fault.kind.value for fault in faults),
        unbilled=any(not fault.costs for fault in faults),
    )
    for fault in faults:
        answer, manner = _spoilt(answer, manner, fault, page)
    return answer, manner


def refusal(fault: Fault) -> Answer:
    """The answer of a `status` fault: the service's own error body, or the edge's plain words."""
    status, message = fault.status, fault.message
    extra = (("Retry-After", fault.retry_after),) if fault.retry_after is not None else ()
    if status in (502, 503, 504):
        return Answer(status=status, content_type="text/plain", body=(message or EDGE).encode(), headers=extra)
    if status == 401:
        said = Refusal(401, message or "Incorrect API key provided: sk-sim.", code="invalid_api_key")
    elif status == 429:
        said = Refusal(429, message or RATE_LIMIT, type="requests", code="rate_limit_exceeded")
    elif status >= 500:
        said = Refusal(status, message or SERVER_ERROR, type="server_error")
    else:
        said = Refusal(status, message or "The request was refused.")
    return replace(said.answer(), headers=extra)


def _spoilt(answer: Answer, manner: Manner, fault: Fault, page: str | None) -> tuple[Answer, Manner]:
    match fault.kind:
        case FaultKind.STATUS:
            return replace(refusal(fault), entry=answer.entry), manner
        case FaultKind.DELAY:
            return answer, replace(manner, delay_s=manner.delay_s + fault.seconds)
        case FaultKind.STALL:
            return answer, replace(manner, stall_after=fault.after, stall_s=fault.seconds)
        case FaultKind.RESET:
            return answer, replace(manner, cut=True, cut_after=fault.after, reset=True)
        case FaultKind.CLOSE_BEFORE_HEADERS:
            return answer, replace(manner, close_before_headers=True)
        case FaultKind.TRUNCATED_LENGTH:
            return answer, replace(manner, cut=True, cut_after=fault.after)
        case FaultKind.TRUNCATED_CHUNKED:
            return answer, replace(manner, cut=True, cut_after=fault.after, chunked=True)
        case FaultKind.NOT_JSON:
            return replace(answer, body=PAGE, payload=None, frames=None), manner
        case FaultKind.HTML:
            return replace(answer, body=PAGE, payload=None, frames=None, content_type="text/html"), manner
        case FaultKind.BROKEN_GZIP:
            whole = gzip.compress(_bytes(answer), mtime=0)
            broken = whole[: len(whole) // 2] + b"\x00\xff" * 16
            headers = (*answer.headers, ("Content-Encoding", "gzip"))
            chunked = manner.chunked or answer.frames is not None
            spoilt = replace(answer, body=broken, payload=None, frames=None, headers=headers)
            return spoilt, replace(manner, packed=True, chunked=chunked)
        case FaultKind.HUGE_JSON:
            return answer, replace(manner, huge_bytes=fault.size)
        case FaultKind.ONE_BYTE_WRITES:
            return answer, replace(manner, one_byte_writes=True)
        case FaultKind.LINE_ENDS:
            return answer, replace(manner, line_end=fault.line_end)
        case FaultKind.COMMENTS:
            return answer, replace(manner, comments=True)
        case FaultKind.INVALID_UTF8:
            return _invalid_utf8(answer), manner
        case FaultKind.FILTER_IGNORED:
            return answer, manner
        case (
            FaultKind.CURSOR_REPEATED
            | FaultKind.CURSOR_MISSING
            | FaultKind.WINDOW_CHANGED
            | FaultKind.BUCKET_DOUBLED
            | FaultKind.BUCKETS_DESCENDING
            | FaultKind.BUCKETS_CUT
            | FaultKind.BUCKET_MISSING
        ):
            return (answer if answer.payload is None else _paged(answer.payload, fault, page)), manner
        case _:
            return _said(answer, fault), manner


def _said(answer: Answer, fault: Fault) -> Answer:
    """The faults that change what the object or its stream says."""
    frames, payload = answer.frames, answer.payload
    match fault.kind:
        case FaultKind.USAGE:
            return mangled(answer, fault.mangle)
        case FaultKind.NO_USAGE:
            return without(answer)
        case FaultKind.USAGE_REPEATED if frames is not None:
            return replace(answer, frames=repeated(frames))
        case FaultKind.USAGE_WITH_CHOICES if frames is not None:
            return replace(answer, frames=with_choices(frames))
        case FaultKind.NO_DONE if frames is not None:
            return replace(answer, frames=tuple(frame for frame in frames if frame.part is not Part.DONE))
        case FaultKind.MODERATION_AFTER_USAGE if frames is not None:
            return replace(answer, frames=_moderated(frames))
        case FaultKind.RATE_LIMITS_AFTER_TERMINAL if frames is not None:
            return replace(answer, frames=_rate_limited(frames))
        case FaultKind.ERROR_IN_STREAM if frames is not None:
            return replace(answer, frames=_erring(frames, fault))
        case FaultKind.RESPONSE_FAILED | FaultKind.RESPONSE_INCOMPLETE:
            if frames is not None:
                return replace(answer, frames=tuple(_ended_frame(frame, fault) for frame in frames))
            return answer if payload is None else _with_payload(answer, _ended(payload, fault))
    return answer


def _with_payload(answer: Answer, payload: Json) -> Answer:
    return replace(answer, payload=payload, body=pretty(payload))


def _bytes(answer: Answer) -> bytes:
    return answer.body if answer.frames is None else b"".join(frame.encode() for frame in answer.frames)


def _invalid_utf8(answer: Answer) -> Answer:
    if answer.frames is None:
        body = answer.body
        at = body.find(b"{") + 1
        return replace(answer, body=body[:at] + b'"note": "\xff\xfe\xc3(", ' + body[at:] if at else body + b"\xff")
    # Lone surrogates stand for the raw bytes; the manner writes them as they were.
    garbage = Frame(part=Part.EXTRA, payload=None, text='data: {"note":"\udcff\udcfe\udcc3("}\n\n')
    return replace(answer, frames=(*answer.frames[:1], garbage, *answer.frames[1:]))


def _paged(payload: Json, fault: Fault, page: str | None) -> Answer:
    changed: Json = {**payload, "data": list(payload.get("data", []))}
    data = changed["data"]
    match fault.kind:
        case FaultKind.CURSOR_REPEATED:
            changed |= {"has_more": True, "next_page": page or payload.get("next_page") or "page_again"}
        case FaultKind.CURSOR_MISSING:
            changed |= {"has_more": True, "next_page": None}
        case FaultKind.WINDOW_CHANGED:
            shift = data[0]["end_time"] - data[0]["start_time"] if data else 0
            changed["data"] = [
                {**b, "start_time": b["start_time"] + shift, "end_time": b["end_time"] + shift} for b in data
            ]
        case FaultKind.BUCKET_DOUBLED:
            changed["data"] = [*data[:1], *data]
        case FaultKind.BUCKETS_CUT:
            changed |= {"data": data[: fault.after], "has_more": False, "next_page": None}
        case FaultKind.BUCKET_MISSING:
            changed["data"] = [*data[: fault.after], *data[fault.after + 1 :]]
        case _:
            changed["data"] = data[::-1]
    return of_json(changed)


def _moderated(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    at = next((n for n, frame in enumerate(frames) if frame.part in (Part.USAGE, Part.DONE)), len(frames) - 1)
    model: Json = frames[0].payload or {}
    verdict = {"model": "omni-moderation-latest", "results": [{"flagged": False}]}
    payload: Json = {**{k: model[k] for k in ("id", "object", "created", "model") if k in model}, "choices": []}
    extra = Frame(part=Part.CONTENT, payload={**payload, "moderation": {"input": verdict}, "usage": None})
    at += frames[at].part is Part.USAGE
    return (*frames[:at], extra, *frames[at:])


def _rate_limited(frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    payload = {
        "type": "response.rate_limits.updated",
        "rate_limits": {"limit_requests": "10000", "remaining_requests": "9999", "reset_requests_ms": 6},
        "sequence_number": len(frames),
    }
    return (*frames, Frame(part=Part.CONTENT, event="response.rate_limits.updated", payload=payload))


def _erring(frames: tuple[Frame, ...], fault: Fault) -> tuple[Frame, ...]:
    message = fault.message or "The model produced invalid content."
    kept = frames[: fault.after]
    if frames[0].event is None:
        error = {"error": {"message": message, "type": "model_error", "param": None, "code": None}}
        return (*kept, Frame(part=Part.TERMINAL, payload=error), DONE)
    payload = {"type": "error", "code": "server_error", "message": message, "param": None}
    return (
        *kept,
        Frame(part=Part.TERMINAL, event="error", payload={**payload, "sequence_number": len(kept)}),
    )


def _ended_frame(frame: Frame, fault: Fault) -> Frame:
    if frame.part is not Part.TERMINAL or frame.payload is None or "response" not in frame.payload:
        return frame
    response = _ended(frame.payload["response"], fault)
    name = f"response.{response['status']}"
    return replace(frame, event=name, payload={**frame.payload, "type": name, "response": response})


def _ended(response: Json, fault: Fault) -> Json:
    if fault.kind is FaultKind.RESPONSE_INCOMPLETE:
        reason = {"reason": fault.message or "content_filter"}
        return {**response, "status": "incomplete", "completed_at": None, "incomplete_details": reason}
    failed = {**response, "status": "failed", "completed_at": None, "output": []}
    failed["error"] = {"code": "server_error", "message": fault.message or SERVER_ERROR}
    if not fault.costs:
        failed["usage"] = None
    return failed
