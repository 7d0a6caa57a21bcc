"""What a user may set for an audit, and what is refused in three lines."""

from __future__ import annotations

import pytest

from submeter.audit.settings import AuditSettings, read_settings
from submeter.data.error import SubmeterError


def test_without_any_variable_the_defaults_are_the_designs() -> None:
    got = read_settings({})
    assert (got.interval_min, got.stable_reads, got.settle_min) == (30, 2, 60)
    assert (got.usage_api_url, got.admin_key, got.timing) == ("https://api.openai.com/v1", None, None)


def test_the_admin_key_is_taken_from_the_first_variable_that_has_one() -> None:
    names = ("OPENAI_ADMIN_KEY", "OPENAI_API_KEY_USAGE_TRACKING", "OPEN_AI_KEY_ADM")
    environment = {name: f"key-of-{name}" for name in names}
    for name in names:
        assert read_settings(environment).admin_key == f"key-of-{name}"
        environment[name] = "  "
    assert read_settings(environment).admin_key is None


def test_an_interval_of_0_switches_settling_off_and_says_so() -> None:
    got = read_settings({"RECONCILIATION_VERIFICATION_INTERVAL_MIN": "0", "SUBMETER_SETTLE_MIN": "60"})
    assert (got.interval_us, got.settle_us, got.timing) == (0, 0, "test")


@pytest.mark.parametrize(("interval_min", "stable_reads"), [(0, 2), (30, 1), (0, 1), (60, 1)])
def test_without_waiting_or_by_one_read_alone_nothing_is_proven(interval_min: int, stable_reads: int) -> None:
    assert AuditSettings(interval_min=interval_min, stable_reads=stable_reads).timing == "test"


@pytest.mark.parametrize(
    ("settings", "below"),
    [
        (AuditSettings(), False),
        (AuditSettings(interval_min=31, stable_reads=3, settle_min=120), False),
        (AuditSettings(interval_min=29), True),
        (AuditSettings(interval_min=0), True),
        (AuditSettings(stable_reads=1), True),
        (AuditSettings(settle_min=59), True),
        (AuditSettings(interval_min=31, stable_reads=3, settle_min=0), True),
    ],
)
def test_settings_that_wait_for_less_than_the_defaults_say_so(settings: AuditSettings, below: bool) -> None:
    assert settings.below_defaults is below


def test_key_ids_of_frameworks_are_found_and_admin_variables_are_not_among_them() -> None:
    environment = {
        "OPENAI_API_KEY_BAES_ID": "key_1",
        "OPENAI_API_KEY_CHAT_DEV_ID": "key_2",
        "OPENAI_API_KEY_EMPTY_ID": "",
        "OPENAI_API_KEY_USAGE_TRACKING_ID": "key_3",
        "OPENAI_API_KEY_ID": "key_4",
        "OPENAI_API_KEY_BAES": "sk-secret",
    }
    assert read_settings(environment).framework_key_ids == {"baes": "key_1", "chat_dev": "key_2"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RECONCILIATION_VERIFICATION_INTERVAL_MIN", "soon"),
        ("RECONCILIATION_VERIFICATION_INTERVAL_MIN", "-1"),
        ("RECONCILIATION_VERIFICATION_INTERVAL_MIN", "1.5"),
        ("RECONCILIATION_MIN_STABLE_VERIFICATIONS", "0"),
        ("RECONCILIATION_MIN_STABLE_VERIFICATIONS", "²"),
        ("SUBMETER_SETTLE_MIN", "99999999999"),
        ("SUBMETER_USAGE_API_URL", "api.openai.com"),
        ("SUBMETER_USAGE_API_URL", "ftp://api.openai.com/v1"),
        ("SUBMETER_USAGE_API_URL", "https://user:secret@api.openai.com/v1"),
        ("SUBMETER_USAGE_API_URL", "https://api.openai.com:99999/v1"),
        ("SUBMETER_USAGE_API_URL", "https://api.openai.com/v1?x=1"),
        ("OPENAI_ADMIN_KEY", "sk-admin two-keys"),
        ("OPENAI_ADMIN_KEY", "sk-admin-é"),
    ],
)
def test_nonsense_is_refused_in_three_lines_that_name_the_variable_and_show_no_secret(name: str, value: str) -> None:
    with pytest.raises(SubmeterError) as caught:
        read_settings({name: value})
    assert len(str(caught.value).splitlines()) == 3
    assert name in str(caught.value)
    assert "sk-admin" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_no_text_of_the_settings_shows_the_admin_key() -> None:
    assert "sk-admin-x" not in repr(AuditSettings(admin_key="sk-admin-x"))
