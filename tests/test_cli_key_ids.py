"""`submeter doctor --find-key-ids`: by the ends that projects show, else by a call that was agreed to; no guess."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from submeter.cli.invocation import Invocation
from submeter.cli.main import cli
from submeter.data.clock import FixedClock
from submeter.sim import Counts, Fault, FaultKind, Key, Sim
from submeter.sim.books import State
from submeter.sim.settings import MANAGEMENT_SCOPE, USAGE_SCOPE

NOW_US = 1_795_000_000_000_000
CHATDEV = Key(secret="sk-proj-chatdev-000000-aaaa", api_key_id="key_chatdev1", project_id="proj_a")
BAES = Key(secret="sk-proj-baes-0000000-bbbb", api_key_id="key_baes1", project_id="proj_b")
OTHERS = [Key(secret=f"sk-other-{n:012}", api_key_id=f"key_other{n}", project_id="proj_b") for n in range(130)]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Two frameworks whose ids nobody has set, and a provider that knows them."""

    ledger: Path
    clock: FixedClock
    sim: Sim

    def find(self, *words: str, answer: str | None = None) -> Result:
        command = ["doctor", "--find-key-ids", "--upstream", self.sim.url, *words]
        invocation = Invocation(ledger=self.ledger, clock=self.clock)
        result = CliRunner().invoke(cli, command, obj=invocation, input=answer)
        for secret in (CHATDEV.secret, BAES.secret, self.sim.admin_key):
            assert secret not in result.output
        return result

    def bill_beside(self, api_key_id: str, more: Counts) -> None:
        """A call of another key at the same time: the first canary's tokens and some more."""
        mine = self.sim.books.entries[0]
        fresh = replace(mine, state=State.OPEN, billed=False, completed_at=None, counts=mine.counts + more)
        other = self.sim.books.open(lambda number: replace(fresh, number=number, api_key_id=api_key_id))
        self.sim.books.complete(other.number, NOW_US / 1e6)

    def canaries(self) -> list[tuple[str, str]]:
        """Step and standing of each call of the run `_submeter/canary`."""
        query = "SELECT step, standing FROM calls WHERE framework = '_submeter' AND run_id = 'canary' ORDER BY ALL"
        words = ["sql", query, "--json"]
        result = CliRunner().invoke(cli, words, obj=Invocation(ledger=self.ledger, clock=self.clock))
        return [(row["step"], row["standing"]) for row in json.loads(result.stdout)] if result.exit_code == 0 else []


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    clock = FixedClock(NOW_US)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY_CHATDEV", CHATDEV.secret)
    Path(".env").write_text(f"OPENAI_API_KEY_BAES={BAES.secret}\n")
    with Sim(now=lambda: clock.now_us() / 1e6, keys=[*OTHERS, CHATDEV, BAES], late_share=0.0) as sim:
        monkeypatch.setenv("OPENAI_ADMIN_KEY", sim.admin_key)
        monkeypatch.setenv("SUBMETER_USAGE_API_URL", sim.base_url)
        yield World(ledger=tmp_path / "l.duckdb", clock=clock, sim=sim)


def test_ids_are_found_by_the_ends_of_keys_over_all_projects_and_pages_without_any_call(world: World) -> None:
    result = world.find()
    assert result.exit_code == 0, result.output
    assert result.stdout == "OPENAI_API_KEY_BAES_ID=key_baes1\nOPENAI_API_KEY_CHATDEV_ID=key_chatdev1\n"
    assert "by the two ends that its project shows" in result.stderr
    assert len(world.sim.books) == 0
    assert not world.ledger.exists()


def test_an_id_that_is_set_rightly_is_said_and_one_that_is_set_wrongly_is_to_be_mended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY_CHATDEV_ID", "key_chatdev1")
    monkeypatch.setenv("OPENAI_API_KEY_BAES_ID", "key_chatdev1")
    result = world.find()
    assert (result.exit_code, result.stdout) == (1, "OPENAI_API_KEY_BAES_ID=key_baes1\n")
    assert "chatdev: key_chatdev1, by the two ends that its project shows, as is set" in result.stderr
    assert "OPENAI_API_KEY_BAES_ID is key_chatdev1, which is wrong" in result.stderr


def test_two_keys_with_the_same_ends_are_said_to_be_ambiguous_and_not_guessed(world: World) -> None:
    twin = replace(CHATDEV, secret=CHATDEV.secret.replace("chatdev", "chatbot"), api_key_id="key_twin")
    world.sim.keys = [CHATDEV, twin, BAES]
    result = world.find(answer="n\n")
    assert (result.exit_code, result.stdout) == (3, "OPENAI_API_KEY_BAES_ID=key_baes1\n")
    assert "2 keys show these two ends (key_chatdev1, key_twin)" in result.stderr
    assert len(world.sim.books) == 0
    world.find("--yes")
    world.clock.sleep(600)
    assert "OPENAI_API_KEY_CHATDEV_ID=key_chatdev1" in world.find().stdout


def test_no_call_is_made_where_nobody_says_yes(world: World) -> None:
    world.sim.admin_scopes = frozenset({USAGE_SCOPE})
    for answer in ("n\n", ""):
        result = world.find(answer=answer)
        assert (result.exit_code, result.stdout) == (3, "")
        assert "cannot be listed with this admin key" in result.stderr
        assert "Missing scopes: api.management.read" in result.stderr
    assert "--yes makes it unasked" in result.stderr
    assert len(world.sim.books) == 0


def test_a_canary_is_one_ordinary_metered_call_and_is_found_some_minutes_later_without_another(world: World) -> None:
    world.sim.admin_scopes = frozenset({USAGE_SCOPE})
    made = world.find(answer="y\n")
    assert (made.exit_code, made.stdout) == (3, "")
    assert "can take minutes" in made.stderr
    assert world.canaries() == [("baes", "counted"), ("chatdev", "counted")]
    assert len(world.sim.books) == 2
    world.clock.sleep(600)
    found = world.find()
    assert found.exit_code == 0, found.output
    assert found.stdout == "OPENAI_API_KEY_BAES_ID=key_baes1\nOPENAI_API_KEY_CHATDEV_ID=key_chatdev1\n"
    assert len(world.sim.books) == 2


def test_waiting_ends_when_the_canary_is_seen(world: World) -> None:
    world.sim.admin_scopes = frozenset({USAGE_SCOPE})
    result = world.find("--yes", "--wait", "--json")
    assert result.exit_code == 0, result.output
    assert [(each["variable"], each["api_key_id"], each["found_by"]) for each in json.loads(result.stdout)] == [
        ("OPENAI_API_KEY_BAES_ID", "key_baes1", "canary"),
        ("OPENAI_API_KEY_CHATDEV_ID", "key_chatdev1", "canary"),
    ]
    assert "Waiting 1 min 00 s" in result.stderr
    assert world.clock.now_us() - NOW_US < 10 * 60 * 1_000_000


def test_waiting_for_a_canary_that_is_never_shown_ends_after_an_hour(world: World) -> None:
    world.sim.admin_scopes = frozenset({USAGE_SCOPE})
    world.sim.lag = 86_400.0
    result = world.find("--yes", "--wait")
    assert (result.exit_code, result.stdout) == (3, "")
    assert 60 <= (world.clock.now_us() - NOW_US) / 60e6 <= 62
    assert "is the admin key of its organization?" in result.stderr
    assert len(world.sim.books) == 2
    world.find("--yes")
    assert len(world.sim.books) == 2, "for a day the one that was made is looked for, and no other is made"


def test_a_neighbour_with_exactly_the_same_tokens_leaves_it_undecided(world: World) -> None:
    world.sim.admin_scopes = frozenset({USAGE_SCOPE})
    world.find("--yes")
    world.bill_beside("key_other1", Counts())
    world.clock.sleep(600)
    result = world.find()
    assert (result.exit_code, len(result.stdout.splitlines())) == (3, 1)
    assert "looks like one of each of" in result.stderr


def test_a_busy_key_does_not_get_the_id_of_a_neighbour_with_the_same_tokens(world: World) -> None:
    world.sim.admin_scopes = frozenset({USAGE_SCOPE})
    Path(".env").unlink()
    world.find("--yes")
    world.bill_beside("key_chatdev1", Counts(input_text=50))
    world.bill_beside("key_other1", Counts())
    world.clock.sleep(600)
    result = world.find()
    assert (result.exit_code, result.stdout) == (3, "")
    assert (
        "looks like one of key_other1, but may as well be one of the calls of key_chatdev1: cannot tell"
        in result.stderr
    )


def test_a_key_that_shows_other_ends_is_not_taken_for_the_canary_s(world: World) -> None:
    Path(".env").unlink()
    world.sim.admin_scopes = frozenset({USAGE_SCOPE})
    world.find("--yes")
    world.bill_beside("key_other1", Counts())
    world.clock.sleep(600)
    both = world.find()
    assert (both.exit_code, both.stdout) == (3, "")
    world.sim.admin_scopes = frozenset({USAGE_SCOPE, MANAGEMENT_SCOPE})
    world.sim.keys = [*OTHERS, BAES]
    found = world.find()
    assert (found.exit_code, found.stdout) == (0, "OPENAI_API_KEY_CHATDEV_ID=key_chatdev1\n"), found.output
    assert "by its canary call" in found.stderr


def test_canaries_are_unlike_in_question_and_answer(world: World) -> None:
    world.sim.admin_scopes = frozenset({USAGE_SCOPE})
    world.find("--yes")
    given = [entry.counts.input_tokens for entry in world.sim.books.entries]
    assert len(set(given)) == 2


def test_an_id_under_which_the_listing_shows_another_key_is_to_be_mended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY_CHATDEV_ID", "key_other2")
    found = world.find()
    assert found.exit_code == 1
    assert "OPENAI_API_KEY_CHATDEV_ID=key_chatdev1" in found.stdout, "the listed id that fits is said"
    world.sim.keys = [*OTHERS, BAES]
    unseen = world.find("--yes")
    assert (unseen.exit_code, unseen.stdout) == (1, "OPENAI_API_KEY_BAES_ID=key_baes1\n")
    assert "is key_other2, which is wrong: that key shows other ends" in unseen.stderr
    assert len(world.sim.books) == 0


def test_an_id_that_could_not_be_confirmed_is_not_fine(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY_CHATDEV_ID", "key_elsewhere")
    monkeypatch.setenv("OPENAI_API_KEY_BAES_ID", "key_baes1")
    world.sim.keys = [*OTHERS, BAES]
    unlisted = world.find("--yes")
    assert (unlisted.exit_code, unlisted.stdout) == (3, "")
    assert "is set to key_elsewhere, which could not be confirmed: no key of the projects" in unlisted.stderr
    world.sim.admin_scopes = frozenset({USAGE_SCOPE})
    unread = world.find("--yes")
    assert (unread.exit_code, unread.stdout) == (3, "")
    assert len(world.sim.books) == 0


def test_no_call_is_paid_for_that_could_not_be_looked_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBMETER_USAGE_API_URL", "http://127.0.0.1:9/v1")
    result = world.find("--yes")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "No call is offered or made: the Usage API could not be asked for it afterwards" in result.stderr
    assert len(world.sim.books) == 0


def test_other_traffic_of_other_keys_in_the_same_minutes_confuses_nothing(world: World) -> None:
    world.sim.admin_scopes = frozenset({USAGE_SCOPE})
    world.find("--yes")
    for key in ("key_other1", "key_other2"):
        world.bill_beside(key, Counts(input_text=1))
    world.clock.sleep(600)
    assert world.find().exit_code == 0


def test_a_key_that_is_not_tracked_is_told_from_one_that_is_late(world: World) -> None:
    world.sim.admin_scopes = frozenset({USAGE_SCOPE})
    world.sim.keys = [replace(CHATDEV, tracked=False), BAES]
    world.find("--yes")
    world.clock.sleep(600)
    result = world.find()
    assert (result.exit_code, result.stdout) == (3, "OPENAI_API_KEY_BAES_ID=key_baes1\n")
    assert "under no key id: make a new key, this one is not tracked" in result.stderr


def test_a_canary_that_is_refused_says_what_the_provider_said_and_not_the_key(world: World) -> None:
    world.sim.admin_scopes = frozenset({USAGE_SCOPE})
    world.sim.keys = [BAES]
    world.sim.plan.add(Fault(kind=FaultKind.STATUS, status=404, message="The model is gone.", body_contains="meter"))
    result = world.find("--yes", "--canary-model", "gpt-none")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "its canary call was refused: 404 The model is gone." in result.stderr


def test_what_is_missing_or_wrong_is_three_lines(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    invocation = Invocation(ledger=world.ledger, clock=world.clock)
    alone = CliRunner().invoke(cli, ["doctor", "--yes"], obj=invocation)
    assert (alone.exit_code, len(alone.stderr.splitlines())) == (2, 3)
    monkeypatch.setenv("OPENAI_API_KEY_GHSPEC", CHATDEV.secret)
    shared = world.find()
    assert (shared.exit_code, len(shared.stderr.splitlines())) == (2, 3)
    assert "One key is used for chatdev and ghspec." in shared.stderr
    monkeypatch.delenv("OPENAI_ADMIN_KEY")
    monkeypatch.delenv("OPENAI_API_KEY_GHSPEC")
    assert world.find().exit_code == 3
    monkeypatch.delenv("OPENAI_API_KEY_CHATDEV")
    Path(".env").unlink()
    none = world.find()
    assert (none.exit_code, len(none.stderr.splitlines())) == (2, 3)


def test_a_provider_that_does_not_answer_is_said_and_no_id_is_made_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.sim.plan.add(Fault(kind=FaultKind.HTML, path="/v1/organization/*"))
    result = world.find()
    assert (result.exit_code, result.stdout) == (3, "")
    assert "is not JSON" in result.stderr


def test_an_id_found_later_also_stands_for_the_calls_that_were_metered_before(world: World) -> None:
    world.sim.admin_scopes = frozenset({USAGE_SCOPE})
    world.find("--yes")
    world.clock.sleep(4 * 3600)
    invocation = Invocation(ledger=world.ledger, clock=world.clock)
    before = CliRunner().invoke(cli, ["audit", "_submeter/canary"], obj=invocation)
    assert (before.exit_code, "not_auditable (key_without_id)" in before.stdout) == (3, True), before.output
    with Path(".env").open("a") as env_file:
        env_file.write(world.find().stdout)
    after = CliRunner().invoke(cli, ["audit", "_submeter/canary", "--wait"], obj=invocation)
    assert after.exit_code == 0, after.output
    assert after.stdout.startswith("_submeter/canary  verified")
    assert "key_baes1" in after.stdout
    assert "key_chatdev1" in after.stdout
