"""A request whose head does not go on: its answer, and its row where the first line is one. Never here: sockets."""

from __future__ import annotations

from ..data.call import Flag
from .admission import Admission
from .attempt import begin_attempt
from .desk import HEAD_TOO_LONG, Desk, is_control, log_failure
from .head import REQUEST_NAMES, plain_headers, said_by
from .loose_head import LooseHead, read_loosely
from .message_head import HeadError, HeadSizeError
from .outcome import Break
from .refusal import broken_call, on_the_wire, refusal


def refused_head(desk: Desk, admission: Admission, received: bytes, error: HeadError) -> bytes:
    """What the client is told; `received`: the head, or the beginning of it."""
    too_long = isinstance(error, HeadSizeError)
    loose = read_loosely(received)
    if loose is not None:
        try:
            _record(desk, admission, loose, str(error), too_long=too_long)
        except Exception as error_of_ours:
            log_failure("a head that is refused", error_of_ours)
            desk.note_gap()
    answer = refusal(HEAD_TOO_LONG[0], f"submeter: {HEAD_TOO_LONG[1]}") if too_long else broken_call(400, str(error))
    return on_the_wire(answer, method=loose.method if loose is not None else "POST")


def _record(desk: Desk, admission: Admission, loose: LooseHead, says: str, *, too_long: bool) -> None:
    path = admission.path_of(loose.target, lambda: loose.fields)
    if path is None or (admission.controls and is_control(path.path)):
        return
    headers = plain_headers(said_by(loose.fields), REQUEST_NAMES)
    attempt = begin_attempt(desk.recorder, method=loose.method, path=path, headers=headers)
    if too_long:
        attempt.refuse(*HEAD_TOO_LONG)
    else:
        attempt.break_off(Break.REFUSED_BY_US, error=says, flags=(Flag.NEVER_SENT,))
