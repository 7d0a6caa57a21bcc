"""One response's bytes into one reading: each shape three ways, and what must not fool or stop the meter."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import replace
from typing import Any

import orjson
import pytest

from submeter.data.call import Flag, Usage
from submeter.proxy.endpoint import find_endpoint
from submeter.proxy.meter import Meter, Reading

SSE = "text/event-stream; charset=utf-8"
JSON = "application/json"
CHAT_USAGE = {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
RESPONSES_USAGE = {
    "input_tokens": 36,
    "input_tokens_details": {"cached_tokens": 32},
    "output_tokens": 87,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 123,
}


def meter(
    path: str = "chat/completions",
    content_type: str | None = JSON,
    *,
    method: str = "POST",
    status_code: int = 200,
    content_encoding: str | None = None,
    images_expected: int = 1,
) -> Meter:
    return Meter(
        find_endpoint(method, f"/v1/{path}"),
        status_code=status_code,
        content_type=content_type,
        content_encoding=content_encoding,
        images_expected=images_expected,
    )


def read(body: bytes, *args: Any, **kwargs: Any) -> Reading:
    """The reading of a body, the same whole, byte by byte and at random cuts; complete at most once."""
    dice = random.Random(len(body))
    cuts = sorted(dice.randrange(len(body) + 1) for _ in range(6))
    pieces = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    readings = []
    for chunks in ([body], [body[at : at + 1] for at in range(len(body))], pieces):
        one = meter(*args, **kwargs)
        assert sum(one.feed(chunk) for chunk in chunks) <= 1
        one.finish()
        readings.append(one.reading())
        assert comparable(one.reading()) == comparable(readings[-1])
    assert comparable(readings[0]) == comparable(readings[1]) == comparable(readings[2])
    return readings[0]


def verbatim(usage: Any) -> Any:
    """A usage as a journal line would hold it."""
    return json.loads(orjson.dumps(usage))


def comparable(reading: Reading) -> Reading:
    """The reading without what may differ: fragments compare by identity, and how much was read before a broken coding
    was noticed depends on the cuts."""
    if (reading.unreadable or "").startswith("broken_gzip"):
        return Reading(unreadable=reading.unreadable)
    usage, tool_usage = orjson.dumps(reading.usage), orjson.dumps(reading.tool_usage)
    return replace(reading, usage=usage, tool_usage=tool_usage)


def stream(*events: Any, done: bool = False) -> bytes:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    return "".join([*lines, "data: [DONE]\n\n" if done else ""]).encode()


def chunk(**members: Any) -> dict[str, Any]:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1741569952, "model": "gpt-x-2026"}
    return {**base, "choices": [{"index": 0, "delta": {"content": "hi"}}], **members}


def response(status: str = "completed", **members: Any) -> dict[str, Any]:
    base = {"id": "resp_1", "object": "response", "created_at": 1741476542, "status": status, "model": "gpt-x-2026"}
    return {**base, "output": [], "error": None, "usage": RESPONSES_USAGE, **members}


def test_a_chat_body_tells_its_usage_and_its_names() -> None:
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1741569952, "model": "gpt-x-2026"}
    reading = read(json.dumps({**body, "service_tier": "default", "usage": CHAT_USAGE}, indent=1).encode())
    assert reading.usage == CHAT_USAGE
    assert reading.usage_counts == Usage(
        input_tokens=19,
        cached_input_tokens=0,
        output_tokens=10,
        reasoning_tokens=4,
        input_audio_tokens=0,
        total_tokens=29,
    )
    assert (reading.response_id, reading.response_model) == ("chatcmpl-1", "gpt-x-2026")
    assert (reading.service_tier, reading.completed_at) == ("default", 1_741_569_952_000_000)
    assert (reading.complete, reading.streamed, reading.unreadable, reading.flags) == (True, False, None, ())


def test_a_chat_streams_last_usage_that_is_not_null_stands() -> None:
    body = stream(
        chunk(usage=None),
        chunk(usage=None, choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]),
        chunk(usage=CHAT_USAGE, choices=[]),
        chunk(usage=None, choices=[], moderation={"flagged": False}),
        done=True,
    )
    reading = read(body, "chat/completions", SSE)
    assert reading.usage == CHAT_USAGE
    assert (reading.streamed, reading.complete, reading.response_id) == (True, True, "chatcmpl-1")
    assert reading.flags == ()


def test_a_repeated_cumulative_usage_is_flagged_and_the_last_stands() -> None:
    more = {**CHAT_USAGE, "completion_tokens": 11}
    reading = read(stream(chunk(usage=CHAT_USAGE), chunk(usage=more), done=True), "chat/completions", SSE)
    assert reading.usage_counts.output_tokens == 11
    assert reading.flags == (Flag.USAGE_REPEATED,)
    same = read(stream(chunk(usage=CHAT_USAGE), chunk(usage=CHAT_USAGE), done=True), "chat/completions", SSE)
    assert same.flags == ()


def test_a_usage_chunk_without_choices_and_without_object_is_read() -> None:
    reading = read(stream(chunk(), {"model": "m", "usage": CHAT_USAGE}, done=True), "chat/completions", SSE)
    assert reading.usage == CHAT_USAGE


def test_a_chat_stream_without_usage_is_whole_and_silent() -> None:
    reading = read(stream(chunk(), done=True), "chat/completions", SSE)
    assert (reading.usage, reading.usage_counts, reading.complete) == (None, Usage(), True)


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed"])
def test_every_terminal_responses_event_tells_its_usage(status: str) -> None:
    error = {"code": "server_error", "message": "your prompt was: secret"} if status == "failed" else None
    body = stream(
        {"type": "response.created", "response": response("in_progress", usage=None)},
        {"type": "response.output_text.delta", "delta": "hi"},
        {"type": f"response.{status}", "response": response(status, error=error, completed_at=1741476550)},
        {"type": "response.rate_limits.updated"},
    )
    reading = read(body, "responses", SSE)
    assert reading.usage == RESPONSES_USAGE
    assert (reading.response_id, reading.response_status, reading.complete) == ("resp_1", status, True)
    assert reading.completed_at == 1_741_476_550_000_000
    assert reading.failed_inside is (status == "failed")
    assert "secret" not in repr(reading)


def test_a_failure_before_generation_has_no_usage() -> None:
    failed = response("failed", usage=None, error={"code": "rate_limit_exceeded", "message": "m"})
    reading = read(stream({"type": "response.failed", "response": failed}), "responses", SSE)
    assert (reading.usage, reading.complete, reading.failed_inside) == (None, True, True)
    assert reading.error == "rate_limit_exceeded"


def test_an_images_body_counts_its_images() -> None:
    usage = {"input_tokens": 50, "output_tokens": 4160, "total_tokens": 4210}
    body = {"created": 1713833628, "data": [{"b64_json": "AA=="}, {"b64_json": "BB=="}], "usage": usage}
    reading = read(json.dumps(body).encode(), "images/generations")
    assert (reading.usage, reading.usage_counts.images) == (usage, 2)
    assert (reading.response_id, reading.response_model) == (None, None)
    silent = read(b'{"created":1,"data":[{"url":"u"}]}', "images/variations")
    assert (silent.usage, silent.usage_counts) == (None, Usage(images=1))


def test_an_image_stream_is_complete_after_the_images_it_was_asked_for() -> None:
    usage = {"input_tokens": 50, "output_tokens": 272, "total_tokens": 322}
    one = {"type": "image_generation.completed", "b64_json": "A" * 70_000, "created_at": 5, "usage": usage}
    body = stream({"type": "image_generation.partial_image", "b64_json": "A"}, one)
    reading = read(body, "images/generations", SSE)
    assert (reading.usage, reading.usage_counts.images, reading.complete) == (usage, 1, True)
    two = meter("images/generations", SSE, images_expected=2)
    assert [two.feed(body), two.feed(stream(one))] == [False, True]
    assert two.reading().usage_counts.images == 2


@pytest.mark.parametrize(
    ("path", "kind"), [("audio/transcriptions", "transcript.text.done"), ("audio/speech", "speech.audio.done")]
)
def test_audio_streams_tell_their_usage_in_the_last_event(path: str, kind: str) -> None:
    usage = {"type": "tokens", "input_tokens": 14, "input_token_details": {"audio_tokens": 14}, "output_tokens": 45}
    reading = read(stream({"type": "transcript.text.delta", "delta": "a"}, {"type": kind, "usage": usage}), path, SSE)
    assert (reading.usage, reading.usage_counts.input_audio_tokens, reading.complete) == (usage, 14, True)


def test_transcription_seconds_with_a_fraction_keep_their_text() -> None:
    reading = read(b'{"text":"hi","usage":{"type":"duration","seconds":9.10}}', "audio/transcriptions")
    assert reading.usage_counts == Usage(seconds=9.1)
    assert orjson.dumps(reading.usage) == b'{"type":"duration","seconds":9.10}'


def test_a_run_of_the_assistants_tells_its_usage_when_it_ends() -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23, "prompt_token_details": {}}
    run = {"id": "run_1", "object": "thread.run", "model": "gpt-x", "created_at": 3}
    body = stream(
        {**run, "status": "queued", "usage": None},
        {"object": "thread.run.step", "usage": {"prompt_tokens": 1}},
        {**run, "status": "completed", "usage": usage},
        done=True,
    )
    reading = read(body, "threads/t/runs", SSE)
    assert (reading.usage, reading.response_id, reading.complete) == (usage, "run_1", True)


def test_embeddings_have_no_id() -> None:
    body = {"object": "list", "data": [{"embedding": [0.5]}], "model": "e", "usage": {"prompt_tokens": 8}}
    reading = read(json.dumps(body).encode(), "embeddings")
    assert (reading.response_id, reading.usage_counts.input_tokens, reading.usage_counts.images) == (None, 8, None)


def test_a_batch_is_known_by_its_id() -> None:
    body = {"id": "batch_1", "object": "batch", "status": "validating", "created_at": 7, "usage": None}
    reading = read(json.dumps(body).encode(), "batches")
    assert (reading.batch_id, reading.response_status, reading.usage) == ("batch_1", "validating", None)


def test_background_work_is_flagged() -> None:
    queued = response("queued", background=True, usage=None)
    assert read(json.dumps(queued).encode(), "responses").flags == (Flag.BACKGROUND,)
    silent = response("in_progress", usage=None)
    assert read(json.dumps(silent).encode(), "responses").flags == (Flag.BACKGROUND,)
    body = stream({"type": "response.created", "response": response("in_progress", usage=None)})
    assert Flag.BACKGROUND not in read(body, "responses", SSE).flags


def test_hosted_tools_are_flagged_by_item_by_event_and_by_what_they_used() -> None:
    by_item = response(output=[{"type": "message"}, {"type": "web_search_call"}])
    assert read(json.dumps(by_item).encode(), "responses").flags == (Flag.HOSTED_TOOL,)
    tools = {"image_gen": {"input_tokens": 0}, "web_search": {"num_requests": 2}}
    reading = read(json.dumps(response(tool_usage=tools)).encode(), "responses")
    assert (reading.tool_usage, reading.flags) == (tools, (Flag.HOSTED_TOOL,))
    unused = read(json.dumps(response(tool_usage={"web_search": {"num_requests": 0}})).encode(), "responses")
    assert unused.flags == ()
    item = {"type": "response.output_item.added", "item": {"type": "mcp_call"}}
    assert Flag.HOSTED_TOOL in read(stream(item), "responses", SSE).flags


PLAIN = [
    "message",
    "reasoning",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "computer_call",
    "local_shell_call",
    "apply_patch_call",
    "mcp_approval_request",
]


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        *((kind, ()) for kind in PLAIN),
        *((kind, (Flag.HOSTED_TOOL,)) for kind in ("mcp_list_tools", "compaction", "program", "a_call_of_2027")),
        (None, ()),
        (5, ()),
    ],
)
def test_an_item_means_work_on_the_provider_s_side_until_its_type_is_known_to_be_plain(
    kind: Any, flags: tuple[Flag, ...]
) -> None:
    body = response(output=[{"type": "message"}, {"type": kind}])
    assert read(json.dumps(body).encode(), "responses").flags == flags


def test_a_compaction_is_what_its_own_endpoint_makes() -> None:
    body = json.dumps(response(object="response.compaction", output=[{"type": "compaction"}])).encode()
    assert read(body, "responses/compact").flags == ()


def test_a_legacy_completion_of_no_text_is_counted() -> None:
    body = b'{"object":"text_completion","model":"m","choices":[],"usage":{"prompt_tokens":11,"total_tokens":11}}'
    assert read(body, "completions").usage_counts == Usage(input_tokens=11, output_tokens=0, total_tokens=11)
    assert read(body, "chat/completions").usage_counts.output_tokens is None


def test_zeros_beside_an_error_in_a_stream_are_not_believed() -> None:
    error = {"error": {"type": "server_error", "code": None, "message": "", "param": None}}
    zeros = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    some = {"prompt_tokens": 7, "completion_tokens": 0, "total_tokens": 7}
    said = {
        name: read(stream(*events, done=True), "chat/completions", SSE).flags
        for name, events in {
            "zeros": [error, chunk(usage=zeros)],
            "some": [error, chunk(usage=some)],
            "no error": [chunk(usage=zeros)],
        }.items()
    }
    assert said == {
        "zeros": (Flag.ZERO_AFTER_ERROR, Flag.ERROR_IN_STREAM),
        "some": (Flag.ERROR_IN_STREAM,),
        "no error": (),
    }


def test_an_error_inside_a_200_stream_is_told_without_its_message() -> None:
    error = {"error": {"type": "server_error", "code": None, "message": "you said: secret", "param": None}}
    reading = read(stream(chunk(), error, done=True), "chat/completions", SSE)
    assert (reading.failed_inside, reading.error) == (True, "server_error")
    assert reading.flags == (Flag.ERROR_IN_STREAM,)
    event = {"type": "error", "code": "rate_limit", "message": "secret", "param": "model", "sequence_number": 2}
    responses = read(stream(event), "responses", SSE)
    assert (responses.failed_inside, responses.error) == (True, "error: rate_limit (model)")
    named = read(b'event: error\ndata: {"message":"secret","code":"boom"}\n\n', "chat/completions", SSE)
    assert (named.failed_inside, named.error) == (True, "boom")
    assert "secret" not in repr((reading, responses, named))


def test_a_refusal_is_an_error_and_not_one_inside() -> None:
    body = {"error": {"message": "secret", "type": "invalid_request_error", "param": "n", "code": "too_big"}}
    reading = read(json.dumps(body).encode(), status_code=400)
    assert (reading.error, reading.failed_inside) == ("invalid_request_error: too_big (n)", False)
    assert "secret" not in repr(reading)


def test_reading_a_stored_failure_is_no_failure() -> None:
    body = json.dumps(response("failed", error={"code": "server_error", "message": "m"})).encode()
    assert read(body, "responses/resp_1", method="GET").failed_inside is False
    assert read(body, "responses").failed_inside is True


@pytest.mark.parametrize("usage", [b"5", b'"many"', b"[1]", b"true", b"1.5"])
def test_a_usage_that_is_no_object_is_flagged_and_none(usage: bytes) -> None:
    reading = read(b'{"id":"x","usage":' + usage + b"}")
    assert (reading.usage, reading.usage_counts, reading.flags) == (None, Usage(), (Flag.USAGE_MALFORMED,))


@pytest.mark.parametrize("depth", [100, 300, 1000, 30_000])
def test_a_usage_of_absurd_depth_is_flagged_and_none(depth: int) -> None:
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    one = meter()
    one.feed(b'{"tool_usage":' + nested + b',"usage":' + nested + b"}")
    one.finish()
    reading = one.reading()
    assert (reading.usage, reading.tool_usage, reading.usage_counts) == (None, None, Usage())
    assert reading.flags == (Flag.USAGE_MALFORMED,) or reading.unreadable == "broken_json"


def test_counts_that_cannot_be_believed_are_flagged() -> None:
    reading = read(b'{"usage":{"prompt_tokens":-5,"completion_tokens":3000000000,"total_tokens":true}}')
    assert set(reading.flags) == {Flag.COUNT_NEGATIVE, Flag.COUNT_ABSURD, Flag.COUNT_MALFORMED}


def test_a_count_of_thirty_digits_survives_verbatim() -> None:
    usage = b'{"prompt_tokens":123456789012345678901234567890}'
    reading = read(b'{"usage":' + usage + b"}")
    assert (orjson.dumps(reading.usage), reading.flags) == (usage, (Flag.COUNT_ABSURD,))


def test_a_usage_that_no_journal_could_hold_is_flagged_and_its_counts_kept() -> None:
    reading = read(rb'{"usage":{"prompt_tokens":5,"x":"\ud800"}}')
    assert (reading.usage, reading.usage_counts.input_tokens) == (None, 5)
    assert reading.flags == (Flag.USAGE_MALFORMED,)


def test_text_that_cannot_be_written_down_is_replaced() -> None:
    reading = read(rb'{"id":"a\ud800b","model":"' + b"m" * 2000 + b'","usage":{"prompt_tokens":5}}')
    assert reading.response_id == "a?b"
    assert len(reading.response_model or "") == 512
    assert read(b'{"id":7,"model":["x"]}').response_id is None


@pytest.mark.parametrize(
    ("body", "why"), [(b'{"usage":{"prompt_tokens":5}', "truncated_json"), (b'{"usage":5,,}', "broken_json")]
)
def test_a_body_that_is_cut_or_broken_is_unreadable_and_has_no_usage(body: bytes, why: str) -> None:
    reading = read(body)
    assert (reading.usage, reading.unreadable, reading.complete) == (None, why, False)


def test_invalid_utf8_is_flagged_and_costs_no_usage() -> None:
    reading = read(b'{"text":"\xff","usage":{"prompt_tokens":5}}')
    assert (verbatim(reading.usage), reading.flags) == ({"prompt_tokens": 5}, (Flag.INVALID_UTF8,))
    streamed = read(b'data: {"choices":[],"x":"\xff","usage":{"prompt_tokens":5}}\n\n', "chat/completions", SSE)
    assert (verbatim(streamed.usage), Flag.INVALID_UTF8 in streamed.flags) == ({"prompt_tokens": 5}, True)


def test_a_broken_event_is_passed_over() -> None:
    body = b"data: {broken\n\n" + stream(chunk(usage=CHAT_USAGE), done=True)
    reading = read(body, "chat/completions", SSE)
    assert (reading.usage, reading.unreadable) == (CHAT_USAGE, None)
    assert read(b"data: {broken\n\n", "chat/completions", SSE).unreadable == "broken_event"


def test_a_stream_that_just_ends_is_flagged() -> None:
    reading = read(stream(chunk()), "chat/completions", SSE)
    assert (reading.complete, reading.flags) == (False, (Flag.NO_TERMINAL,))


def test_what_is_known_at_an_abort_is_told() -> None:
    left = meter("responses", SSE)
    left.feed(stream({"type": "response.created", "response": response("in_progress", usage=None)}))
    reading = left.reading()
    assert (reading.response_id, reading.usage, reading.complete, reading.unreadable) == ("resp_1", None, False, None)
    half = meter()
    half.feed(b'{"id":"chatcmpl-1","model":"m","choices":[{"mess')
    reading = half.reading()
    assert (reading.response_id, reading.response_model, reading.unreadable) == ("chatcmpl-1", "m", None)


def test_a_terminal_event_counts_before_its_blank_line() -> None:
    one = meter("responses", SSE)
    body = stream({"type": "response.completed", "response": response()})
    assert [one.feed(body[:-2]), one.feed(b"\n"), one.feed(b"\n")] == [False, True, False]
    assert one.reading().usage == RESPONSES_USAGE
    chat = meter("chat/completions", SSE)
    chat.feed(stream(chunk(usage=CHAT_USAGE)))
    assert [chat.feed(b"data: [DON"), chat.feed(b"E]"), chat.feed(b"\n\n")] == [False, True, False]


def test_a_terminal_event_of_megabytes_counts_before_its_blank_line() -> None:
    one = meter("responses", SSE)
    text = [{"type": "message", "content": [{"text": "x" * 1000}]}] * 6000
    body = stream({"type": "response.completed", "response": response(output=text)})
    pieces = [body[start : start + 50_000] for start in range(0, len(body) - 1, 50_000)]
    pieces[-1] = pieces[-1].removesuffix(b"\n")
    assert sum(one.feed(piece) for piece in pieces) == 1
    assert one.feed(b"\n") is False
    assert verbatim(one.reading().usage) == RESPONSES_USAGE


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/octet-stream", "text/plain; charset=utf-8"])
def test_a_type_that_says_nothing_lets_the_first_bytes_tell(content_type: str | None) -> None:
    assert read(b' {"usage":{"prompt_tokens":5}}', "x", content_type).usage == {"prompt_tokens": 5}
    assert read(stream(chunk(usage=CHAT_USAGE)), "chat/completions", content_type).usage == CHAT_USAGE
    for body in (b"dear all, retry", b"e", b"data", b"\x00\x01", b"\xef\xbb\xbf", b"{not json", b"  "):
        reading = read(body, "audio/transcriptions", content_type)
        assert (reading.usage, reading.unreadable) == (None, None)


def test_a_type_that_cannot_be_true_is_overruled() -> None:
    assert read(stream(chunk(usage=CHAT_USAGE), done=True), "chat/completions", JSON).usage == CHAT_USAGE
    assert read(b'{"usage":{"prompt_tokens":5}}', "chat/completions", SSE).usage == {"prompt_tokens": 5}


def test_audio_is_opaque() -> None:
    reading = read(b'{"usage":{"prompt_tokens":5}}', "audio/speech", "audio/mpeg")
    assert (reading.usage, reading.unreadable, reading.body_bytes_decoded) == (None, None, 0)


def test_an_empty_body_says_nothing() -> None:
    assert read(b"").unreadable is None
    assert read(b"", "chat/completions", SSE).usage is None


def test_compressed_bodies_are_read_from_a_copy() -> None:
    body = gzip.compress(json.dumps({"id": "x", "usage": CHAT_USAGE}).encode(), mtime=0)
    assert read(body, content_encoding="gzip").usage == CHAT_USAGE
    # The document is whole, only the checksum behind it is missing.
    assert read(body[:-8], content_encoding="gzip").usage == CHAT_USAGE


@pytest.mark.parametrize(
    ("body", "content_encoding", "why"),
    [
        (b"\x1f\x8b\x08garbage", "gzip", "broken_gzip"),
        (
            gzip.compress(b'{"usage":{"prompt_tokens":5},"x":"' + bytes(range(35, 92)) * 9 + b'"}', mtime=0)[:-20],
            "gzip",
            "trunc",
        ),
        (b"{}", "rot13", "unknown_encoding"),
    ],
)
def test_what_cannot_be_decoded_is_unreadable(body: bytes, content_encoding: str, why: str) -> None:
    reading = read(body, content_encoding=content_encoding)
    assert reading.usage is None
    assert (reading.unreadable or "").startswith(why)
