"""What must hold for any bytes whatever, one law for each part that reads them; `check(data)` picks one and asks it.

The oracles are the standard library's JSON and a reading of the event-stream grammar of our own here: nothing is
judged by the code it tests.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import orjson
from fuzz_input import CODINGS, CONTENT_TYPES, PATHS, REQUEST_TYPES, STATUSES, Input, pieces

from submeter.proxy.decode import DecodeError, Decoder
from submeter.proxy.endpoint import find_endpoint
from submeter.proxy.json_body import EVENT_MEMBERS, RESPONSE_MEMBERS, JsonBody
from submeter.proxy.json_scan import DEPTH_MAX, JsonScanner, Problem, Scan, Tree, Want
from submeter.proxy.meter import Meter, Reading
from submeter.proxy.request_body import RequestFacts, RequestReader
from submeter.proxy.rewrite_request import ask_for_usage
from submeter.proxy.rewrite_stream import UsageHider
from submeter.proxy.socket_meter import SocketMeter
from submeter.proxy.sse import SseDecoder

_LONG_LINE = 60_000
_BLANKS_MAX = 4096


def check(data: bytes) -> None:
    """Ask the law that `data` chooses. Raises AssertionError, or whatever the code under it should not have raised."""
    given = Input(data)
    given.one_of(LAWS)(given)


def the_meter_never_raises_and_no_cut_changes_its_reading(given: Input) -> None:
    path, content_type, status = given.one_of(PATHS), given.one_of(CONTENT_TYPES), given.one_of(STATUSES)
    coding, encode = given.one_of(CODINGS)
    damage = given.byte()
    body, parts = given.body()
    if encode is not None and damage < 200:
        sizes = [len(part) for part in parts]
        body = encode(body)
        if damage > 128:
            body = body[: damage % (len(body) + 1)] + bytes([damage]) + body[damage % (len(body) + 1) + 1 :]
        parts = pieces(body, [sum(sizes[:count]) for count in range(1, min(len(sizes), 9))])
    whole, cut = (_read(chunks, path, content_type, coding, status) for chunks in ([body], parts))
    plain = _decoded(body, coding)
    # How much is read before damage is noticed depends on the cuts. So does an event that would complete the response
    # were it not for more data behind it: it is taken at once where that has not come yet, as clients take it.
    # And behind more blanks than anyone waits for, a body of no declared type is not looked into.
    if plain is not None and not _goes_on(plain) and plain[:_BLANKS_MAX].strip():
        assert _said(whole) == _said(cut), (whole, cut)


def _read(chunks: list[bytes], path: str, content_type: str | None, coding: str | None, status: int) -> Reading:
    meter = Meter(
        find_endpoint("POST", f"/v1/{path}"), status_code=status, content_type=content_type, content_encoding=coding
    )
    ends = 0
    for chunk in chunks:
        ends += meter.feed(chunk)
        meter.reading()
    assert ends <= 1
    meter.finish()
    meter.finish()
    reading = meter.reading()
    assert _said(reading) == _said(meter.reading())
    return reading


def _said(reading: Reading) -> list[object]:
    """All of a reading, as it would stand in a journal line."""
    line = orjson.dumps([reading.usage, reading.tool_usage, reading.error, reading.response_id, reading.response_model])
    assert b"\n" not in line
    names = [one.name for one in fields(reading) if one.name not in ("usage", "tool_usage")]
    return [line, *(getattr(reading, name) for name in names)]


def _decoded(body: bytes, coding: str | None) -> bytes | None:
    try:
        decoder = Decoder(coding)
        plain = decoder.feed(body)
        decoder.close()
    except DecodeError:
        return None
    return plain


def _goes_on(body: bytes) -> bool:
    """Whether an event has more data behind what is a document by itself."""
    for _, data in _events(body):
        lines = data.split(b"\n")
        if any(
            _loads(b"\n".join(lines[:count]), lenient=True) is not _NOTHING for count in range(1, min(len(lines), 9))
        ):
            return True
    return False


def the_request_reader_never_raises_and_agrees_with_the_standard_library(given: Input) -> None:
    content_type = given.one_of(REQUEST_TYPES)
    coding, encode = given.one_of(CODINGS[:5])
    body, parts = given.body()
    if encode is not None:
        body = encode(body)
        parts = pieces(body, [len(parts)])
    whole, cut = _facts([body], content_type, coding), _facts(parts, content_type, coding)
    assert whole == cut
    if coding is not None or (content_type or "").startswith("multipart/"):
        return
    parsed = _loads(body)
    if parsed is not _NOTHING:
        said = parsed if isinstance(parsed, dict) else {}
        assert whole.unreadable is None, whole
        assert whole.stream == (said["stream"] if isinstance(said.get("stream"), bool) else None)
        assert (whole.model is not None) == isinstance(said.get("model"), str)
        options = said.get("stream_options")
        asked = options.get("include_usage") if isinstance(options, dict) else None
        assert whole.stream_options_include_usage == (asked if isinstance(asked, bool) else None)


def _facts(chunks: list[bytes], content_type: str | None, coding: str | None) -> RequestFacts:
    reader = RequestReader(content_type=content_type, content_encoding=coding)
    for chunk in chunks:
        reader.feed(chunk)
    facts = reader.facts()
    assert facts == reader.facts()
    return facts


def a_question_is_put_in_and_nothing_else_is_changed(given: Input) -> None:
    body, _ = given.body()
    asking = ask_for_usage(body, None)
    if asking is None:
        return
    before, after = _loads(body, lenient=True), _loads(asking, lenient=True)
    assert before["stream"] is True
    options = before.get("stream_options") or {}
    assert after == {**before, "stream_options": {**options, "include_usage": True}}
    kept = _common(body, asking)
    assert kept >= len(body) - len("false"), (body, asking)


def _common(one: bytes, other: bytes) -> int:
    """Bytes that both begin and end with, not counted twice."""
    shorter = min(len(one), len(other))
    front = next((at for at in range(shorter) if one[at] != other[at]), shorter)
    back = next((at for at in range(shorter - front) if one[-1 - at] != other[-1 - at]), shorter - front)
    return front + back


def hiding_takes_out_nothing_but_usage(given: Input) -> None:
    given_up_after = given.byte()
    body, parts = given.body()
    whole = UsageHider()
    hidden = whole.feed(body) + whole.finish()
    cut = UsageHider()
    assert b"".join([*(cut.feed(part) for part in parts), cut.finish()]) == hidden
    _check_hidden(body, hidden)
    if b'"usage"' not in body:
        assert hidden == body
    giving_up = UsageHider()
    out = b""
    for index, part in enumerate(parts):
        if index == given_up_after:
            out += giving_up.give_up()
        out += giving_up.feed(part)
    _check_hidden(body, out + giving_up.finish())


def _check_hidden(before: bytes, after: bytes) -> None:
    """Every event is there as it was, without a `usage` member, or was there for its usage alone."""
    comments, events = _lines_of_events(before)
    comments_after, events_after = _lines_of_events(after)
    assert comments == comments_after
    reached = {0}
    """How many of the events after hiding may be what the events so far have become."""
    for event in events:
        passed = {
            at + 1
            for at in reached
            if at < len(events_after) and (events_after[at] == event or _without_usage(event, events_after[at]))
        }
        reached = passed | reached if _is_for_usage_alone(event) else passed
        assert reached, event
    assert len(events_after) in reached


def _lines_of_events(body: bytes) -> tuple[list[bytes], list[list[bytes]]]:
    """The comment lines of a stream, and its events as their other lines; line ends are not compared."""
    comments: list[bytes] = []
    events: list[list[bytes]] = [[]]
    for line in body.removeprefix(codecs.BOM_UTF8).splitlines():
        if line[:1] == b":":
            comments.append(line)
        elif line:
            events[-1].append(line)
        else:
            events.append([])
    return comments, [event for event in events if event]


def _data(lines: list[bytes]) -> bytes:
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line[:5] == b"data:")


def _without_usage(before: list[bytes], after: list[bytes]) -> bool:
    """Whether `after` is `before` without one member `usage`, and every other byte of it."""
    one, other = b"\n".join(before), b"\n".join(after)
    if len(other) >= len(one) or _common(one, other) < len(other):
        return False
    had, has = _loads(_data(before), lenient=True), _loads(_data(after), lenient=True)
    if not isinstance(had, dict) or not isinstance(has, dict):
        return False
    usage = had.pop("usage", 0)
    return (usage is None or isinstance(usage, dict)) and had == has


def _is_for_usage_alone(event: list[bytes]) -> bool:
    chunk = _loads(_data(event), lenient=True)
    nothing: tuple[Any, ...] = (None, False, "", [], {}, _as_written("0"), _as_written("-0"), _as_written("0.0"))
    return isinstance(chunk, dict) and isinstance(chunk.get("usage"), dict) and chunk.get("choices") in nothing


def events_are_those_of_the_grammar(given: Input) -> None:
    body, parts = given.body()
    expected = list(_events(body))
    if any(len(line) > _LONG_LINE and line[:5] != b"data:" for line in body.splitlines()):
        # Such lines are passed over, how long they are before that depends on the cuts.
        return
    for chunks in ([body], parts):
        decoder = SseDecoder()
        found = []
        for chunk in chunks:
            found += decoder.feed(chunk)
            decoder.pending()
        found += decoder.finish()
        assert [event.name for event in found] == [name for name, _ in expected]
        for event, (_, text) in zip(found, expected, strict=True):
            if isinstance(event.data, JsonBody):
                direct = JsonBody()
                direct.feed(text)
                assert event.data.size == len(text)
                assert event.data.document() == direct.document()
            else:
                assert event.data == text


def _events(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """WHATWG HTML 9.2.6, and an event at the end that lacks its blank line: (name, data)."""
    name, data = b"", None
    for line in [*body.removeprefix(codecs.BOM_UTF8).splitlines(), b""]:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if data is not None:
                yield name, data
            name, data = b"", None
        elif field == b"data":
            data = value if data is None else data + b"\n" + value
        elif field == b"event":
            name = value


def the_scanner_agrees_with_the_standard_library(given: Input) -> None:
    wanted: Tree = given.one_of([RESPONSE_MEMBERS, EVENT_MEMBERS])
    body, parts = given.body()
    whole, cut = _scan([body], wanted), _scan(parts, wanted)
    # How far a broken document is looked at depends on the cuts.
    assert whole == (cut._replace(invalid_utf8=whole.invalid_utf8) if whole.problem is Problem.BROKEN else cut)
    text = body.removeprefix(codecs.BOM_UTF8)
    parsed = _loads(text)
    if whole.problem is None:
        assert _loads(text, lenient=True) is not _NOTHING, "accepted, and no JSON"
    if parsed is _NOTHING or text.count(b"{") + text.count(b"[") > DEPTH_MAX or whole.oversize:
        return
    assert whole.problem is None, (whole.problem, body)
    assert not whole.invalid_utf8
    _check_found(whole, parsed, wanted, ())


def _scan(chunks: list[bytes], wanted: Tree) -> Scan:
    scanner = JsonScanner(wanted)
    for chunk in chunks:
        scanner.feed(chunk)
        scanner.scan()
    return scanner.scan()


def _check_found(scan: Scan, value: Any, wanted: Tree, path: tuple[str, ...]) -> None:
    """Every wanted value that is there was captured, and is what was captured."""
    for name, want in wanted.items():
        here = (*path, name)
        there = isinstance(value, dict) and name in value
        if want is Want.LEAF:
            assert (here in scan.captured) == there, here
            assert not there or _loads(scan.captured[here], lenient=True) == value[name]
        elif want is Want.COUNT:
            counted = len(value[name]) if there and isinstance(value[name], list) else None
            assert scan.counted.get(here) == counted, here
        elif not isinstance(want, str) and "*" not in want:
            _check_found(scan, value[name] if there else None, want, here)


def messages_of_a_socket_never_raise(given: Input) -> None:
    meter = SocketMeter(model="gpt-realtime")
    body, _ = given.body()
    for at, message in enumerate(body.split(b"\n\n")):
        from_client = message[-1:] in (b"\t", b"7")
        for told in meter.take(message, from_client=from_client, at=at):
            reading = getattr(told, "reading", None)
            if reading is not None:
                _said(reading)


_NOTHING = object()


def _loads(body: bytes, *, lenient: bool = False) -> Any:
    """What the standard library reads, numbers as they are written; `_NOTHING` where it reads nothing."""
    try:
        text = body.decode("utf-8", "surrogateescape" if lenient else "strict")
        constant = _as_written if lenient else _refused
        return json.loads(text, parse_int=_as_written, parse_float=_as_written, parse_constant=constant)
    except (ValueError, RecursionError):
        return _NOTHING


def _as_written(digits: str) -> Any:
    """Equal to no other value of a document."""
    return (digits,)


def _refused(word: str) -> Any:
    raise ValueError(word)


# The corpus names a law by its place: a new one goes to the end.
LAWS: list[Callable[[Input], None]] = [
    the_meter_never_raises_and_no_cut_changes_its_reading,
    the_request_reader_never_raises_and_agrees_with_the_standard_library,
    a_question_is_put_in_and_nothing_else_is_changed,
    hiding_takes_out_nothing_but_usage,
    events_are_those_of_the_grammar,
    the_scanner_agrees_with_the_standard_library,
    messages_of_a_socket_never_raise,
]
