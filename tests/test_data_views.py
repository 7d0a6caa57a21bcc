"""What the views say of calls, runs and steps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from laws import assert_calls_are_whole, assert_sums_agree
from ledger_play import NOON_US, Play

from submeter.data.call import DISTRUSTED, Flag, MarkedBy, Operation, Outcome, Usage
from submeter.data.clock import US_PER_S
from submeter.data.questions import read_sql

NOON = datetime(2026, 11, 22, 12)
FOREVER_S = 24 * 3600.0


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    play = Play(tmp_path)
    yield play
    play.ledger.ingest()
    assert_sums_agree(play.ledger)
    assert_calls_are_whole(play.ledger)
    play.journal.close()


STANDING = "SELECT standing FROM calls"


def test_a_create_with_both_totals_is_counted(play: Play) -> None:
    play.call()
    assert play.told(STANDING) == [("counted",)]


@pytest.mark.parametrize(
    ("status_code", "standing"),
    [(400, "unbilled"), (401, "unbilled"), (429, "unbilled"), (408, "unknown"), (409, "unknown")],
)
def test_a_refused_create_is_unbilled_unless_it_timed_out_or_conflicted(
    play: Play, status_code: int, standing: str
) -> None:
    play.call(outcome=Outcome.REFUSED, status_code=status_code, counts=Usage())
    assert play.told(STANDING) == [(standing,)]


def test_a_create_that_was_never_sent_is_unbilled(play: Play) -> None:
    play.call(outcome=Outcome.FAILED, status_code=None, counts=Usage(), flags=(Flag.NEVER_SENT,))
    assert play.told(STANDING) == [("unbilled",)]


@pytest.mark.parametrize(
    ("flags", "said", "standing"),
    [
        ((Flag.OPTIONAL,), {}, "optional"),
        ((Flag.OPTIONAL,), {"output_tokens": None}, "unknown"),
        ((Flag.OPTIONAL,), {"outcome": Outcome.REFUSED, "status_code": 400}, "unbilled"),
        ((Flag.OPTIONAL, Flag.CACHED_OVER_INPUT), {}, "unknown"),
        ((Flag.WARM_UP,), {}, "unknown"),
        ((Flag.WARM_UP,), {"output_tokens": 0}, "optional"),
        ((Flag.WARM_UP,), {"output_tokens": None, "outcome": Outcome.NO_USAGE}, "optional"),
        ((Flag.WARM_UP,), {"outcome": Outcome.REFUSED, "status_code": 400}, "unbilled"),
        ((Flag.WARM_UP, Flag.USAGE_CONTRADICTS), {}, "unknown"),
        ((), {}, "counted"),
    ],
)
def test_a_create_that_may_not_be_billed_is_optional_where_its_usage_is_known(
    play: Play, flags: tuple[Flag, ...], said: dict[str, Any], standing: str
) -> None:
    play.call(flags=flags, **said)
    assert play.told(STANDING) == [(standing,)]


def test_a_usage_that_cannot_be_believed_is_known_by_the_same_flags_wherever_that_is_asked() -> None:
    for name in ("macro_is_distrusted", "ingest_told"):
        named = set(re.findall(r"'([a-z_]+)'", read_sql(name)))
        assert set(DISTRUSTED) <= named


def test_an_optional_call_is_in_no_sum_and_its_number_stands_beside_each(play: Play) -> None:
    play.call(input_tokens=7)
    play.call(flags=(Flag.OPTIONAL,), input_tokens=1000)
    numbers = "calls, counted, unknown, optional, input_tokens"
    for view in ("step_usage", "run_usage", "minute_usage"):
        assert play.told(f"SELECT {', '.join(f'sum({name})' for name in numbers.split(', '))} FROM {view}") == [
            (2, 1, 0, 1, 7)
        ]
    asked = {"framework": None, "run_id": None}
    assert play.ledger.query(f"SELECT {numbers} FROM ({read_sql('by_model').rstrip().rstrip(';')})", asked).rows == [
        (2, 1, 0, 1, 7)
    ]


@pytest.mark.parametrize("usage_endpoint", ["moderations", "audio_speeches", None])
def test_a_create_without_a_token_total_to_compare_is_uncovered(play: Play, usage_endpoint: str | None) -> None:
    play.call(usage_endpoint=usage_endpoint)
    assert play.told(STANDING) == [("uncovered",)]


def test_a_create_on_an_unknown_endpoint_is_unknown(play: Play) -> None:
    play.call(usage_endpoint=None, flags=(Flag.UNKNOWN_ENDPOINT,))
    assert play.told(STANDING) == [("unknown",)]


@pytest.mark.parametrize("flag", DISTRUSTED)
def test_counts_that_cannot_be_believed_are_kept_and_stand_as_unknown(play: Play, flag: Flag) -> None:
    play.call(input_tokens=-3, flags=(flag,))
    assert play.told("SELECT standing, input_tokens FROM calls") == [("unknown", -3)]
    assert play.told("SELECT input_tokens, unknown FROM run_usage") == [(None, 1)]


@pytest.mark.parametrize(
    ("usage_endpoint", "counts", "standing"),
    [
        ("completions", Usage(input_tokens=1), "unknown"),
        ("embeddings", Usage(input_tokens=1), "counted"),
        ("embeddings", Usage(output_tokens=1), "unknown"),
        ("images", Usage(images=1), "counted"),
        ("images", Usage(input_tokens=1, output_tokens=1), "unknown"),
    ],
)
def test_each_endpoint_has_its_own_totals(play: Play, usage_endpoint: str, counts: Usage, standing: str) -> None:
    play.call(usage_endpoint=usage_endpoint, counts=counts)
    assert play.told(STANDING) == [(standing,)]


def test_a_read_has_no_standing_and_is_never_summed(play: Play) -> None:
    play.call(operation=Operation.READ, input_tokens=99)
    play.call()
    assert play.told("SELECT calls, creates, input_tokens FROM run_usage") == [(2, 1, 10)]


def test_counts_nobody_told_stay_null(play: Play) -> None:
    play.call(counts=Usage(), outcome=Outcome.NO_USAGE)
    assert play.told("SELECT input_tokens, usage, flags FROM calls") == [(None, None, [])]
    assert play.told("SELECT input_tokens, output_tokens, unknown FROM step_usage") == [(None, None, 1)]


def test_the_host_is_that_of_the_process_that_wrote_the_call(play: Play) -> None:
    play.call()
    assert play.told("SELECT c.host = p.host FROM calls AS c, processes AS p") == [(True,)]


def test_a_background_response_is_filled_by_the_first_terminal_read(play: Play) -> None:
    start = play.call(counts=Usage(), outcome=Outcome.NO_USAGE, flags=(Flag.BACKGROUND,), response_status="queued")
    assert play.told(STANDING) == [("unknown",)]
    assert play.told("answered_later") != []
    for status, tokens in (("in_progress", 1), ("completed", 7), ("completed", 8)):
        play.journal.append(
            "read",
            {
                "call_id": start.call_id,
                "source": "read",
                "response_status": status,
                "usage": {"input_tokens": tokens},
                "input_tokens": tokens,
                "output_tokens": 2,
            },
        )
    assert play.told("SELECT standing, usage_source, input_tokens, response_status FROM calls") == [
        ("counted", "read", 7, "completed")
    ]


def test_a_read_does_not_change_a_call_that_told_its_usage_itself(play: Play) -> None:
    start = play.call()
    play.journal.append("read", {"call_id": start.call_id, "source": "receipt", "input_tokens": 99, "output_tokens": 9})
    assert play.told("SELECT usage_source, input_tokens FROM calls") == [("reported", 10)]


def test_two_creates_with_one_request_id_are_flagged_and_stay_two(play: Play) -> None:
    play.call(request_id="req_1")
    play.ledger.ingest()
    play.wait(60).call(request_id="req_1")
    play.call(request_id="req_2")
    play.call(request_id="req_1", operation=Operation.READ)
    rows = play.told("SELECT operation, list_contains(flags, 'seen_twice') FROM calls ORDER BY started_at, call_id")
    assert rows == [("create", True), ("create", True), ("create", False), ("read", False)]
    assert play.told("SELECT counted FROM run_usage") == [(3,)]


def test_rows_of_one_websocket_share_a_request_id_and_are_not_flagged(play: Play) -> None:
    for _ in range(2):
        play.call(request_id="req_1", status_code=101)
    assert play.told("SELECT DISTINCT flags FROM calls") == [([],)]


def test_the_latest_id_known_of_a_key_stands_for_all_its_calls_in_every_view(play: Play) -> None:
    play.call(api_key_id=None)
    play.call(api_key_id="key_first")
    for key_id in (None, "key_wrong", "key_right", None):
        play.journal.append("key", {"key_fingerprint": "ab12", "framework": "chatdev", "api_key_id": key_id})
    assert play.told("SELECT api_key_id FROM calls ORDER BY started_at") == [("key_right",), ("key_right",)]
    for view in ("minute_usage", "(SELECT * FROM calls WHERE api_key_id = 'key_right')"):
        assert play.told(f"SELECT DISTINCT api_key_id FROM {view}") == [("key_right",)]
    assert [row[2:4] for row in play.told("keys_in_use")] == [("key_right", 2)]


def test_the_id_noted_with_a_call_stands_where_no_other_is_known_of_its_key(play: Play) -> None:
    play.call(api_key_id="key_first")
    play.call(api_key_id="key_other", key="cd34")
    play.journal.append("key", {"key_fingerprint": "ab12", "framework": "chatdev", "api_key_id": None})
    play.journal.append("key", {"key_fingerprint": "ef56", "framework": "chatdev", "api_key_id": "key_third"})
    assert play.told("SELECT api_key_id FROM calls ORDER BY started_at") == [("key_first",), ("key_other",)]


def test_a_call_of_an_unknown_key_has_the_framework_its_run_was_declared_with(play: Play) -> None:
    play.begin(framework="ghspec")
    play.call(framework=None)
    assert play.told("SELECT framework, run_id FROM calls") == [("ghspec", "r-1")]
    assert play.told("SELECT name FROM runs") == [("ghspec/r-1",)]


def test_a_run_id_of_two_frameworks_names_neither(play: Play) -> None:
    play.begin(framework="ghspec")
    play.begin(framework="baes")
    play.call(framework=None)
    assert play.told("SELECT name FROM runs ORDER BY name") == [("baes/r-1",), ("ghspec/r-1",), ("r-1",)]


def test_a_mark_without_a_framework_takes_that_of_the_calls_of_its_run(play: Play) -> None:
    play.begin("1", framework=None)
    play.call()
    play.end("1", framework=None)
    assert play.told("SELECT framework, step, visit FROM steps") == [("chatdev", "1", 1)]
    assert play.told("SELECT framework, calls FROM step_usage") == [("chatdev", 1)]


RUNS = "SELECT episode, started_at, ended_at, end_source FROM runs ORDER BY episode"


def test_a_run_ends_where_its_end_is_marked(play: Play) -> None:
    play.begin()
    play.wait(5).call(took_s=5)
    play.end(status="success")
    assert play.told(RUNS) == [(1, NOON, after(10), "mark")]
    assert play.told("SELECT status, begun_by FROM runs") == [("success", "cli")]


def test_a_run_that_is_begun_again_after_its_end_has_another_episode(play: Play) -> None:
    for _ in range(2):
        play.begin()
        play.wait(10)
        play.end()
        play.wait(10)
    assert play.told(RUNS) == [(1, NOON, after(10), "mark"), (2, after(20), after(30), "mark")]


def test_a_run_begun_at_the_instant_of_its_end_has_another_episode(play: Play) -> None:
    play.begin()
    play.wait(10)
    play.end()
    play.begin()
    assert play.told(RUNS) == [(1, NOON, after(10), "mark"), (2, after(10), None, None)]


def test_a_run_without_a_mark_begins_with_its_first_call_and_idles_out(play: Play) -> None:
    play.call(took_s=10)
    assert play.told(RUNS) == [(1, NOON, None, None)]
    play.wait(3599)
    assert play.told(RUNS) == [(1, NOON, None, None)]
    play.wait(1)
    assert play.told(RUNS) == [(1, NOON, after(10), "idle")]
    play.call()
    assert play.told(RUNS) == [(1, NOON, after(10), "idle"), (2, after(3610), None, None)]


def test_an_open_call_keeps_a_run_from_idling_out(play: Play) -> None:
    play.begin()
    start = play.start()
    play.wait(7200)
    assert play.told(RUNS) == [(1, NOON, None, None)]
    play.settle(start)
    assert play.told(RUNS) == [(1, NOON, None, None)]


def test_a_marked_end_outweighs_the_idling_before_it(play: Play) -> None:
    play.begin()
    play.wait(3 * 3600).call()
    play.end()
    assert play.told(RUNS) == [(1, NOON, after(3 * 3600 + 1), "mark")]


def test_a_begin_after_idling_is_another_episode_and_a_begin_before_is_not(play: Play) -> None:
    play.begin()
    play.wait(60)
    play.begin()
    play.wait(2 * 3600)
    play.begin()
    play.wait(10)
    play.end()
    assert play.told(RUNS) == [(1, NOON, after(60), "idle"), (2, after(7260), after(7270), "mark")]


def test_a_run_ends_with_the_process_that_began_it(play: Play) -> None:
    host = play.open_journal("python")
    play.begin(journal=host, by=MarkedBy.PYTHON)
    play.call()
    play.wait(10)
    host.close()
    assert play.told(RUNS) == [(1, NOON, after(11), "process")]


def test_a_run_outlives_the_command_that_marked_its_begin(play: Play) -> None:
    command = play.open_journal("mark")
    play.begin(journal=command)
    command.close()
    assert play.told(RUNS) == [(1, NOON, None, None)]


def test_an_end_without_a_begin_is_no_run(play: Play) -> None:
    play.end()
    assert play.told(RUNS) == []


STEPS = "SELECT step, visit, started_at, ended_at FROM steps ORDER BY started_at, visit"


def test_a_begin_ends_the_step_that_is_open_at_the_same_instant(play: Play) -> None:
    play.begin("1")
    play.wait(10)
    play.begin("2")
    play.wait(10)
    play.end("1")
    play.wait(10)
    play.end()
    assert play.told(STEPS) == [("1", 1, NOON, after(10)), ("2", 1, after(10), after(30))]


def test_a_step_entered_again_has_a_second_visit_and_one_sum(play: Play) -> None:
    for step in ("1", "2", "1"):
        play.begin(step)
        play.call(step=step)
        play.end(step, status="ok")
    assert play.told(STEPS) == [
        ("1", 1, NOON, after(1)),
        ("2", 1, after(1), after(2)),
        ("1", 2, after(2), after(3)),
    ]
    assert play.told("SELECT step, calls, input_tokens FROM step_usage ORDER BY first_begun_at") == [
        ("1", 2, 20),
        ("2", 1, 10),
    ]


def test_a_step_ends_with_its_run(play: Play) -> None:
    play.begin()
    play.begin("1")
    play.wait(10)
    play.end()
    play.wait(10)
    play.begin()
    play.begin("1")
    assert play.told("SELECT episode, step, visit, ended_at FROM steps ORDER BY visit") == [
        (1, "1", 1, after(10)),
        (2, "1", 2, None),
    ]


def test_a_step_told_by_labels_alone_is_there_too(play: Play) -> None:
    play.call(step="4.7", took_s=3)
    assert play.told("SELECT step, visit, started_at, ended_at, begun_by FROM steps") == [
        ("4.7", 1, NOON, after(3), "call")
    ]


USAGE = "SELECT step, calls, input_tokens, covered FROM step_usage ORDER BY first_begun_at, step"


def test_a_step_without_a_call_has_zeros_while_a_proxy_is_up(play: Play) -> None:
    play.wait(1).begin("1")
    play.wait(10).end("1")
    assert play.told(USAGE) == [("1", 0, 0, True)]
    assert play.told("SELECT calls, output_tokens FROM run_usage") == [(0, 0)]


def test_a_step_without_a_call_before_the_proxy_has_nulls(play: Play) -> None:
    play.begin("1", at=NOON_US - 10 * US_PER_S)
    play.end("1")
    assert play.told(USAGE) == [("1", None, None, False)]
    assert play.told("SELECT calls, input_tokens, unknown FROM run_usage") == [(None, None, None)]


def test_a_step_that_a_proxy_slept_through_is_not_covered_and_one_handed_over_is(play: Play) -> None:
    other = play.open_journal("mark")
    play.begin("1", journal=other)
    play.wait(10)
    second = play.open_journal()
    play.journal.close()
    play.begin("2", journal=other)
    play.wait(10)
    second.close()
    play.wait(10)
    play.begin("3", journal=other)
    play.wait(10)
    play.journal = play.open_journal()
    play.wait(10)
    play.end("3", journal=other)
    other.close()
    assert play.told(USAGE) == [("1", 0, 0, True), ("2", None, None, False), ("3", None, None, False)]


def test_a_step_nobody_ended_is_covered_while_its_proxy_was_up(play: Play) -> None:
    play.begin("1")
    play.wait(10).journal.close()
    play.wait(30)
    assert play.told(USAGE) == [("1", 0, 0, True)]
    play.wait(FOREVER_S)
    assert play.told(USAGE) == [("1", 0, 0, True)]


def test_a_step_nobody_ended_is_covered_until_its_run_was_idle(play: Play) -> None:
    other = play.open_journal("mark")
    play.begin("1", journal=other)
    play.wait(10).begin("2", run_id="r-2", journal=other)
    other.close()
    play.wait(10).journal.close()
    play.wait(30)
    assert play.told(USAGE) == [("1", None, None, False), ("2", None, None, False)]
    play.wait(3600)
    assert play.told(USAGE) == [("1", 0, 0, True), ("2", 0, 0, True)]


def test_a_step_nobody_ended_is_not_covered_where_its_run_went_on_after_its_proxy_slept(play: Play) -> None:
    play.begin("1")
    play.begin("2")
    play.wait(10).journal.close()
    play.wait(10)
    play.journal = play.open_journal()
    play.call(step="3")
    assert [row for row in play.told(USAGE) if row[0] == "2"] == [("2", None, None, False)]


def test_marks_stand_in_the_order_they_were_written_where_the_clock_stepped_back(play: Play) -> None:
    play.wait(100).begin()
    play.begin("1")
    play.wait(-50).end("1", status="success")
    play.begin("2")
    play.wait(10).end("2")
    play.end()
    play.wait(100)
    assert play.told("SELECT step, visit, started_at, ended_at, status FROM steps ORDER BY step") == [
        ("1", 1, after(100), after(100), "success"),
        ("2", 1, after(100), after(100), None),
    ]
    assert play.told("SELECT name, episode, started_at, ended_at, end_source FROM runs") == [
        ("chatdev/r-1", 1, after(100), after(100), "mark")
    ]


def test_a_gap_in_the_journal_takes_the_cover_away(play: Play) -> None:
    play.begin("1")
    play.wait(10).end("1")
    play.begin("2")
    play.wait(10).end("2")
    gap = NOON_US + 5 * US_PER_S
    play.journal.append("gap", {"from": gap, "to": gap, "calls": 1, "lines": 2})
    assert play.told(USAGE) == [("1", None, None, False), ("2", 0, 0, True)]
    assert play.told("missing_time")[0][:4] == (after(5), after(5), 1, 2)


def test_minutes_are_those_in_which_calls_ended_by_the_providers_clock(play: Play) -> None:
    play.wait(50).call(took_s=20)
    play.call(completed_at=NOON_US + 5 * US_PER_S, response_model="gpt-5-mini")
    assert play.told("SELECT minute, model, calls, input_tokens FROM minute_usage ORDER BY minute") == [
        (NOON, "gpt-5-mini", 1, 10),
        (after(60), None, 1, 10),
    ]


def test_an_unknown_call_says_why_and_what_would_settle_it(play: Play) -> None:
    play.call(outcome=Outcome.ABORTED, counts=Usage(), response_id="resp_1")
    play.start()
    play.wait(1).call(flags=(Flag.WARM_UP,))
    play.call(flags=(Flag.WARM_UP,), counts=Usage(input_tokens=10, output_tokens=0))
    play.wait(1).call(outcome=Outcome.ABORTED, counts=Usage(), flags=(Flag.DRAINED,))
    rows = play.told("SELECT why, settled_by FROM unknown_calls ORDER BY started_at")
    assert rows[0] == (
        "the client left before the usage came",
        "submeter proxy --receipts, which asks for a stored response once",
    )
    assert rows[1] == ("still open", "its end")
    assert rows[2:] == [
        ("a warm-up that told output all the same", None),
        ("the client left, and the answer, read to its end, told no usage", None),
    ]


def test_a_runs_audit_is_its_latest_verdict_beside_its_latest_final_one(play: Play) -> None:
    for attempt, (verdict, final) in enumerate([("pending", False), ("verified", True), ("unavailable", False)]):
        play.wait(60).journal.append(
            "audit",
            {
                "audit_id": f"a-{attempt}",
                "audited_at": play.clock.now_us(),
                "scope": "run",
                "framework": "chatdev",
                "run_id": "r-1",
                "verdict": verdict,
                "final": final,
                "attempt": attempt + 1,
                "detail": {"d": []},
            },
        )
    play.journal.append(
        "audit",
        {
            "audit_id": "p",
            "audited_at": play.clock.now_us(),
            "scope": "part",
            "api_key_id": "key_1",
            "verdict": "short",
        },
    )
    assert play.told("SELECT name, verdict, verdicts, final_verdict, final_audited_at FROM run_audit") == [
        ("chatdev/r-1", "unavailable", 3, "verified", after(120))
    ]
