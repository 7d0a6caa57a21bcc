"""Laws that hold on every ledger, whatever made it. Call them at the end of any test that has one."""

from __future__ import annotations

from submeter.data.ledger import Ledger, named
from submeter.data.staging import Connection

SUMMED = (
    "calls",
    "creates",
    "counted",
    "unknown",
    "optional",
    "uncovered",
    "unbilled",
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "images",
)
_COUNTS = SUMMED[:7]
_AUDITED = (
    "call_id, api_key_id, framework, run_id, step, operation, outcome, standing, usage_endpoint, endpoint,"
    " request_model, response_model, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, images, "
)
"""What `audited_calls` has of `calls` under the same names."""


def assert_sums_agree(ledger: Ledger) -> None:
    """The rows of a run in `step_usage`, with `step IS NULL`, add up to its row in `run_usage`, and that to its calls.

    A sum over nothing is NULL in one place and, where a proxy was watching, 0 in another: they are taken for equal.
    A run with ambiguous calls has no sum of tokens in either, and both say how many such calls there are.
    """
    with ledger.looking() as connection:
        for view in _SET_SIDE_BY_SIDE:
            connection.rows(f"CREATE TEMP TABLE kept_{view} AS FROM {view}")
        _assert_steps_of_a_run_are_those_of_the_views(connection)
        for view in _SET_SIDE_BY_SIDE:
            connection.rows(f"ALTER TABLE kept_{view} RENAME TO {view}")
        _assert_sums_agree(connection)


_SET_SIDE_BY_SIDE = (
    "calls",
    "standings",
    "audited_calls",
    "audit_creates",
    "ambiguous_calls",
    "steps",
    "step_usage",
    "run_usage",
)
"""Views whose answers are kept and then set side by side: to plan one takes more than to compare its rows."""


def _assert_the_audit_sees_the_calls(ledger: Connection) -> None:
    """`audited_calls` says of every call what `calls` says of it, and `audit_creates` is its creates."""
    told = (
        f"SELECT {_AUDITED} epoch_us(started_at), epoch_us(ended_at), epoch_us(completed_at),"
        " list_contains(flags, 'background'), list_contains(flags, 'hosted_tool'), list_contains(flags, 'seen_twice')"
        " FROM calls"
    )
    audited = f"SELECT {_AUDITED} started_us, ended_us, completed_us, background, hosted, seen_twice FROM audited_calls"
    for one, other in ((told, audited), (audited, told)):
        assert ledger.rows(f"{one} EXCEPT ALL {other}") == []
    creates = "FROM audited_calls WHERE operation = 'create'"
    assert ledger.rows(f"SELECT * EXCLUDE (operation) {creates} EXCEPT ALL FROM audit_creates") == []
    assert ledger.rows("SELECT count(*) FROM audit_creates") == ledger.rows(f"SELECT count(*) {creates}")


def _assert_sums_agree(ledger: Connection) -> None:
    of_calls = ", ".join(name for (name,) in ledger.rows("SELECT column_name FROM (DESCRIBE standings)"))
    for one, other in (("calls", "standings"), ("standings", "calls")):
        assert ledger.rows(f"SELECT {of_calls} FROM {one} EXCEPT ALL SELECT {of_calls} FROM {other}") == []
    _assert_the_audit_sees_the_calls(ledger)
    steps = _by_run(
        ledger, f"SELECT framework, run_id, {', '.join(f'sum({name})' for name in SUMMED)} FROM step_usage GROUP BY ALL"
    )
    runs = _by_run(ledger, f"SELECT framework, run_id, {', '.join(SUMMED)} FROM run_usage")
    calls = _by_run(
        ledger,
        "SELECT framework, run_id, count(*), count(*) FILTER (operation = 'create'),"
        " count(*) FILTER (standing = 'counted'), count(*) FILTER (standing = 'unknown'),"
        " count(*) FILTER (standing = 'optional'),"
        " count(*) FILTER (standing = 'uncovered'), count(*) FILTER (standing = 'unbilled'), "
        + ", ".join(f"sum({name}) FILTER (standing = 'counted')" for name in SUMMED[len(_COUNTS) :])
        + " FROM calls WHERE run_id IS NOT NULL GROUP BY ALL",
    )
    doubtful = _by_run(ledger, "SELECT framework, run_id, count(*) FROM ambiguous_calls GROUP BY ALL")
    for view in ("step_usage", "run_usage"):
        said = f"SELECT framework, run_id, sum(ambiguous) FROM {view} GROUP BY ALL HAVING sum(ambiguous) > 0"
        assert _by_run(ledger, said) == doubtful
        summed = " OR ".join(f"{name} IS NOT NULL" for name in SUMMED[len(_COUNTS) :])
        assert (
            ledger.rows(f"SELECT 1 FROM {view} SEMI JOIN ambiguous_calls USING (framework, run_id) WHERE {summed}")
            == []
        )
    assert _used(steps) == _used(runs)
    assert _used(runs) == _used(
        {
            run: row[: len(_COUNTS)] + (0,) * (len(row) - len(_COUNTS)) if run in doubtful else row
            for run, row in calls.items()
        }
    )


STEPS_BY_VIEWS = """
WITH visited AS (
    SELECT
        framework,
        run_id,
        step,
        count(*) AS visits,
        CASE WHEN count(*) = count(ended_at) THEN max(ended_at) END AS ended_at,
        arg_max(status, visit) AS status
    FROM kept_steps
    GROUP BY framework, run_id, step
)
SELECT
    u.framework, u.run_id, u.step, v.visits, u.first_begun_at, v.ended_at, v.status, u.calls, u.creates, u.counted,
    u.unknown, u.optional, u.ambiguous, u.uncovered, u.unbilled,
    u.input_tokens, u.cached_input_tokens, u.cache_write_tokens, u.output_tokens,
    u.reasoning_tokens, u.images, u.covered
FROM kept_step_usage AS u
LEFT JOIN visited AS v ON v.step = u.step AND v.run_id = u.run_id AND v.framework IS NOT DISTINCT FROM u.framework
ORDER BY u.framework, u.run_id, u.step IS NULL, u.first_begun_at, u.step
"""


def _assert_steps_of_a_run_are_those_of_the_views(ledger: Connection) -> None:
    """`list_steps` asks for one run, in a way of its own, what `step_usage` and `steps` say of all."""
    expected = ledger.rows(STEPS_BY_VIEWS)
    for framework, run_id in {(row[0], row[1]) for row in expected}:
        steps = ledger.rows(named("list_steps"), {"framework": framework, "run_id": run_id})
        assert steps == [row[2:] for row in expected if row[:2] == (framework, run_id)]


def assert_calls_are_whole(ledger: Ledger) -> None:
    """Every call is one row, every create has exactly one standing, and no other row has any."""
    with ledger.looking() as connection:
        connection.rows("CREATE TEMP TABLE kept AS SELECT call_id, operation, standing FROM calls")
        repeated = connection.rows("SELECT call_id FROM kept GROUP BY call_id HAVING count(*) > 1 ORDER BY call_id")
        assert repeated == []
        astray = connection.rows(
            "SELECT call_id FROM kept WHERE (operation = 'create') <> (standing IS NOT NULL)"
            " OR standing NOT IN ('counted', 'unbilled', 'uncovered', 'optional', 'unknown') ORDER BY call_id"
        )
        assert astray == []


def _used(sums: dict[tuple[str | None, str], tuple[int, ...]]) -> dict[tuple[str | None, str], tuple[int, ...]]:
    return {run: row for run, row in sums.items() if any(row)}


def _by_run(ledger: Connection, sql: str) -> dict[tuple[str | None, str], tuple[int, ...]]:
    return {(row[0], row[1]): tuple(int(value or 0) for value in row[2:]) for row in ledger.rows(sql)}
