"""The meter of one WebSocket: which call a message begins, belongs to and ends."""

from __future__ import annotations

import json
from time import thread_time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from submeter.data.call import Flag
from submeter.proxy.json_body import BUFFER_BYTES_MAX
from submeter.proxy.socket_happening import Begun, Ended, Happening, ToldAgain, Work
from submeter.proxy.socket_meter import CALLS_OPEN_MAX, SocketMeter

USAGE = {"input_tokens": 12, "output_tokens": 5, "total_tokens": 17}


class Talk:
    """A socket played message by message; every message comes one microsecond after the one before."""

    def __init__(self, model: str | None = None) -> None:
        self.meter = SocketMeter(model=model)
        self.at = 0

    def client(self, kind: str, **more: Any) -> list[Happening]:
        return self._take({"type": kind, **more}, from_client=True)

    def server(self, kind: str, response: Any = None, **more: Any) -> list[Happening]:
        return self._take({"type": kind, **more, **({} if response is None else {"response": response})}, False)

    def _take(self, message: Any, from_client: bool) -> list[Happening]:
        return self.raw(json.dumps(message).encode(), from_client=from_client)

    def raw(self, message: bytes, *, from_client: bool = False) -> list[Happening]:
        self.at += 1
        return list(self.meter.take(message, from_client=from_client, at=self.at))


def begun(happenings: list[Happening]) -> list[int]:
    return [one.number for one in happenings if isinstance(one, Begun)]


def ended(happenings: list[Happening]) -> Ended:
    [end] = [one for one in happenings if isinstance(one, Ended)]
    return end


def answered(name: str, status: str = "completed", usage: Any = USAGE, **more: Any) -> dict[str, Any]:
    return {"id": name, "model": "gpt-5-2026", "status": status, "usage": usage, **more}


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete", "response.failed", "response.done"])
def test_every_terminal_event_ends_a_response_and_tells_its_usage(kind: str) -> None:
    talk = Talk()
    assert begun(talk.client("response.create", model="gpt-5", input="x")) == [0]
    assert talk.server("response.created", {"id": "r"}) == []
    assert talk.server("response.output_text.delta", delta="x") == []
    end = ended(talk.server(kind, answered("r")))
    assert (end.number, end.first_byte_at, end.request_model) == (0, 2, "gpt-5")
    assert (end.reading.response_id, end.reading.response_model) == ("r", "gpt-5-2026")
    assert (end.reading.usage_counts.input_tokens, end.reading.usage_counts.output_tokens) == (12, 5)
    assert end.reading.failed_inside == (kind == "response.failed")
    assert talk.meter.open_numbers == ()


def test_a_response_that_the_server_begins_by_itself_is_a_call_too() -> None:
    talk = Talk()
    talk.client("response.create")
    talk.server("response.created", {"id": "r1"})
    talk.server("response.incomplete", answered("r1", "incomplete", incomplete_details={"reason": "steered"}))
    assert begun(talk.server("response.created", {"id": "r2"})) == [1]
    end = ended(talk.server("response.completed", answered("r2")))
    assert (end.number, end.request_model, end.request_bytes) == (1, None, 0)


def test_a_terminal_event_without_any_beginning_is_a_call() -> None:
    happenings = Talk().server("response.completed", answered("r"))
    assert begun(happenings) == [0]
    assert ended(happenings).number == 0


def test_a_repeated_terminal_event_is_no_second_call() -> None:
    talk = Talk()
    talk.server("response.done", answered("r"))
    assert talk.server("response.done", answered("r")) == []


def test_lanes_are_kept_apart_however_they_interleave() -> None:
    talk = Talk()
    numbers = {lane: begun(talk.client("response.create", stream_id=lane, model=lane))[0] for lane in "abc"}
    for lane in "cab":
        assert talk.server("response.created", {"id": f"r{lane}"}, stream_id=lane) == []
    for lane in "bca":
        end = ended(talk.server("response.completed", answered(f"r{lane}"), stream_id=lane))
        assert (end.number, end.request_model) == (numbers[lane], lane)


def test_bytes_of_unparsed_messages_go_to_the_response_of_their_lane() -> None:
    talk = Talk()
    for lane in "ab":
        talk.client("response.create", stream_id=lane)
        talk.server("response.created", {"id": lane}, stream_id=lane)
    for _ in range(10):
        talk.server("response.output_text.delta", delta="x" * 100, stream_id="a")
    long = ended(talk.server("response.completed", answered("a"), stream_id="a")).response_bytes
    short = ended(talk.server("response.completed", answered("b"), stream_id="b")).response_bytes
    assert long - short == 10 * len(
        json.dumps({"type": "response.output_text.delta", "delta": "x" * 100, "stream_id": "a"})
    )


def test_a_server_that_names_no_lane_answers_the_oldest_question() -> None:
    talk = Talk()
    talk.client("response.create", stream_id="a")
    assert talk.server("response.created", {"id": "r"}) == []
    assert ended(talk.server("response.completed", answered("r"))).number == 0


def test_an_error_with_a_status_answers_the_create_of_its_lane() -> None:
    talk = Talk()
    talk.client("response.create", stream_id="a")
    talk.client("response.create", stream_id="b")
    error = {"type": "invalid_request_error", "code": "model_not_found", "message": "quotes the prompt"}
    end = ended(talk.server("error", status=404, stream_id="b", error=error))
    assert (end.number, end.status_code, end.refused) == (1, 404, True)
    assert end.reading.error == "invalid_request_error: model_not_found"
    assert (end.reading.failed_inside, end.reading.flags) == (False, ())
    assert talk.meter.open_numbers == (0,)


def test_a_realtime_error_that_names_another_message_leaves_the_create_alone() -> None:
    talk = Talk()
    talk.client("response.create", event_id="event_1")
    error = {"type": "invalid_request_error", "event_id": "event_0"}
    assert talk.server("error", error=error) == []
    end = ended(talk.server("error", error={**error, "event_id": "event_1"}))
    assert (end.number, end.refused, end.status_code) == (0, True, None)


def test_a_server_s_own_failure_is_no_refusal() -> None:
    talk = Talk()
    talk.client("response.create", event_id="event_1")
    end = ended(talk.server("error", error={"type": "server_error", "event_id": "event_1"}))
    assert (end.refused, end.reading.failed_inside) == (False, True)


REFUSED = {"type": "invalid_request_error", "code": "invalid_value", "param": "item.content[0].type", "event_id": None}


@pytest.mark.parametrize("code", [["conversation_already_has_active_response"], {}, 7])
def test_an_error_whose_code_is_no_text_is_read_like_one_without(code: Any) -> None:
    talk = Talk()
    talk.client("response.create")
    assert talk.server("error", error={"type": "invalid_request_error", "code": code}) == []
    assert ended(talk.server("response.done", answered("r"))).reading.usage_counts.output_tokens == 5


@pytest.mark.parametrize("error", [REFUSED, {"type": "server_error", "code": None, "event_id": None}])
def test_an_error_that_names_no_event_does_not_end_a_create_that_is_answered_after_it(error: dict[str, Any]) -> None:
    talk = Talk()
    assert begun(talk.client("response.create")) == [0]
    assert talk.server("error", error=error) == []
    assert talk.server("response.created", {"id": "r"}) == []
    end = ended(talk.server("response.done", answered("r")))
    assert (end.number, end.refused, end.reading.error) == (0, False, None)
    assert (end.reading.usage, end.reading.flags, talk.meter.open_numbers) == (USAGE, (), ())


def test_an_error_that_names_no_event_is_the_end_of_a_create_that_nothing_else_answers() -> None:
    talk = Talk()
    talk.client("response.create")
    talk.server("error", error=REFUSED)
    talk.client("response.create", model="second")
    talk.server("response.created", {"id": "r"})
    answer = ended(talk.server("response.done", answered("r")))
    assert (answer.number, answer.request_model, answer.refused) == (1, "second", False)
    left = talk.meter.give_up(0)
    assert left is not None
    assert (left.refused, left.status_code) == (True, None)
    assert left.reading.error == "invalid_request_error: invalid_value (item.content[0].type)"


def test_an_error_that_only_a_create_can_cause_ends_it_whatever_it_names() -> None:
    talk = Talk()
    talk.client("response.create")
    error = {"type": "invalid_request_error", "code": "conversation_already_has_active_response"}
    assert ended(talk.server("error", error=error)).refused is True


@pytest.mark.parametrize(("generate", "flags"), [(False, (Flag.WARM_UP,)), (True, ()), (None, ()), (0, ())])
def test_a_create_that_is_to_generate_nothing_is_a_warm_up(generate: Any, flags: tuple[Flag, ...]) -> None:
    talk = Talk()
    talk.client("response.create", model="gpt-5.5", generate=generate)
    talk.server("response.created", {"id": "r"})
    assert ended(talk.server("response.completed", answered("r"))).reading.flags == flags


def test_a_usage_in_a_second_terminal_event_is_told_again_once() -> None:
    talk = Talk()
    talk.client("response.create")
    assert ended(talk.server("response.completed", answered("r", usage=None))).reading.usage is None
    [again] = talk.server("response.done", answered("r"))
    assert isinstance(again, ToldAgain)
    assert (again.number, again.reading.response_id, again.reading.usage) == (0, "r", USAGE)
    assert talk.server("response.done", answered("r")) == []
    assert talk.server("response.done", answered("r", usage=None)) == []


def test_an_error_beside_a_response_matters_only_if_the_response_never_ends() -> None:
    talk = Talk()
    for name in ("r1", "r2"):
        talk.client("response.create")
        talk.server("response.created", {"id": name})
        talk.server("error", error={"type": "server_error", "code": "session_expired"})
        if name == "r1":
            end = ended(talk.server("response.done", answered(name)))
            assert (end.reading.error, end.reading.failed_inside) == (None, False)
    lost = talk.meter.give_up(1)
    assert lost is not None
    assert (lost.reading.error, lost.reading.response_id) == ("server_error: session_expired", "r2")
    assert lost.reading.usage is None
    assert talk.meter.give_up(1) is None


def test_a_realtime_response_that_failed_says_why_in_its_status_details() -> None:
    talk = Talk()
    details = {"type": "failed", "error": {"type": "server_error", "code": "overloaded"}}
    end = ended(talk.server("response.done", answered("r", "failed", status_details=details)))
    assert (end.reading.failed_inside, end.reading.error) == (True, "server_error: overloaded")
    assert end.reading.usage_counts.total_tokens == 17


def test_a_cancelled_realtime_response_still_tells_its_usage() -> None:
    end = ended(Talk().server("response.done", answered("r", "cancelled", status_details={"reason": "turn_detected"})))
    assert (end.reading.failed_inside, end.reading.response_status) == (False, "cancelled")
    assert end.reading.usage_counts.total_tokens == 17


@pytest.mark.parametrize("told", [None, "gpt-realtime-2026"])
def test_a_realtime_response_has_the_model_of_the_url_and_of_its_session(told: str | None) -> None:
    talk = Talk(model="gpt-realtime")
    talk.server("session.created", session={"model": told, "instructions": "x"})
    talk.client("response.create")
    end = ended(talk.server("response.done", {"id": "r", "status": "completed", "usage": USAGE}))
    assert (end.request_model, end.reading.response_model) == ("gpt-realtime", told)


@pytest.mark.parametrize(
    "session",
    [
        {"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}},
        {"input_audio_transcription": {"model": "gpt-4o-transcribe"}},
    ],
)
def test_what_was_heard_is_a_call_of_the_listening_model(session: dict[str, Any]) -> None:
    talk = Talk(model="gpt-realtime")
    talk.server("session.updated", session=session)
    usage = {"type": "tokens", **USAGE, "input_token_details": {"text_tokens": 0, "audio_tokens": 12}}
    kind = "conversation.item.input_audio_transcription.completed"
    happenings = talk.server(kind, item_id="item_1", transcript="words", usage=usage)
    assert happenings[0] == Begun(number=0, work=Work.TRANSCRIPTION)
    end = ended(happenings)
    assert (end.reading.response_model, end.reading.response_id) == ("gpt-4o-transcribe", "item_1")
    assert end.reading.usage_counts.input_audio_tokens == 12
    by_time = ended(talk.server(kind, item_id="item_2", usage={"type": "duration", "seconds": 2.5}))
    assert by_time.reading.usage_counts.seconds == 2.5
    failed = ended(talk.server(kind.replace("completed", "failed"), error={"type": "server_error"}))
    assert failed.reading.failed_inside


def test_a_usage_stays_verbatim_to_the_last_digit() -> None:
    talk = Talk()
    raw = b'{"type":"response.done","response":{"id":"r","usage":{"input_tokens":1,"output_tokens":2,"cost":0.10}}}'
    assert orjson.dumps(ended(talk.raw(raw)).reading.usage) == b'{"input_tokens":1,"output_tokens":2,"cost":0.10}'


@pytest.mark.parametrize("text", ["x" * (BUFFER_BYTES_MAX + 10), "\\ud800"])
def test_a_terminal_event_that_is_huge_or_that_strict_readers_refuse_is_read_all_the_same(text: str) -> None:
    usage = json.dumps(USAGE).encode()
    raw = b'{"response":{"id":"r","output":[{"text":"%b"}],"usage":%b},"type":"response.done"}' % (text.encode(), usage)
    assert ended(Talk().raw(raw)).reading.usage_counts.total_tokens == 17


def test_a_type_is_found_wherever_it_stands_and_a_mention_of_one_is_none() -> None:
    padding = "y" * 200_000
    late = json.dumps({"padding": padding, "response": answered("r"), "type": "response.done"}).encode()
    assert ended(Talk().raw(late)).reading.usage_counts.total_tokens == 17
    escaped = b'{"a":1,"type":"response\\u002edone","response":{"id":"r","usage":{"total_tokens":17}}}'
    assert ended(Talk().raw(escaped)).reading.usage_counts.total_tokens == 17
    quoting = json.dumps({"padding": padding, "delta": 'so "response.done" it said', "type": "x"}).encode()
    assert Talk().raw(quoting) == []


def test_audio_is_not_parsed() -> None:
    talk = Talk()
    audio = json.dumps({"type": "response.output_audio.delta", "delta": "QUJD" * 250_000}).encode()
    began = thread_time()
    for _ in range(1000):
        talk.raw(audio)
        talk.raw(audio, from_client=True)
    assert thread_time() - began < 1.0, "2 GB of audio were read"


def test_calls_that_nobody_answers_are_given_up_beyond_a_limit() -> None:
    talk = Talk()
    for number in range(CALLS_OPEN_MAX):
        assert begun(talk.client("response.create")) == [number]
    end = ended(talk.client("response.create"))
    assert (end.number, end.reading.unreadable) == (0, "too_many_open")
    assert len(talk.meter.open_numbers) == CALLS_OPEN_MAX


def test_a_terminal_event_cut_in_the_middle_ends_its_call_unread() -> None:
    talk = Talk()
    talk.client("response.create")
    talk.server("response.created", {"id": "r"})
    end = ended(talk.raw(b'{"type":"response.completed","response":{"id":"r","usage":{"input_tokens":1'))
    assert (end.number, end.reading.unreadable, end.reading.usage) == (0, "truncated_json", None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "usage", "model", "error", "type"]), inner)
    ),
    max_leaves=8,
)
KINDS = st.sampled_from(
    [
        "response.create",
        "response.created",
        "response.done",
        "response.completed",
        "error",
        "session.updated",
        "conversation.item.input_audio_transcription.completed",
    ]
)
MEMBERS = st.sampled_from(["response", "session", "error", "stream_id", "event_id", "item_id", "status", "usage"])


@given(
    st.lists(
        st.tuples(st.booleans(), st.binary(max_size=50) | st.tuples(KINDS, st.dictionaries(MEMBERS, JSON, max_size=4))),
        max_size=12,
    )
)
def test_whatever_is_said_nothing_raises_and_every_call_ends_once(messages: list[tuple[bool, Any]]) -> None:
    talk = Talk()
    seen: list[Happening] = []
    for from_client, message in messages:
        raw = message if isinstance(message, bytes) else json.dumps({"type": message[0], **message[1]}).encode()
        seen += talk.raw(raw, from_client=from_client)
    seen += [end for number in talk.meter.open_numbers if (end := talk.meter.give_up(number))]
    ends = [one.number for one in seen if isinstance(one, Ended)]
    assert sorted(ends) == sorted(begun(seen)) == list(range(len(ends)))
    assert all(isinstance(flag, Flag) for one in seen if isinstance(one, Ended) for flag in one.reading.flags)
