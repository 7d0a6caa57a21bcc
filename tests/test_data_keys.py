"""Framework keys: which variables are frameworks, and that no secret stays."""

from __future__ import annotations

import hashlib
from pathlib import Path

from submeter.data.keys import fingerprint, read_keys

SECRET = "sk-proj-abcdefgh12345678"


def test_a_variable_of_a_framework_is_read_with_its_id() -> None:
    ring = read_keys({"OPENAI_API_KEY_CHATDEV": SECRET, "OPENAI_API_KEY_CHATDEV_ID": "key_abc"})
    key = ring.of_framework("chatdev")
    assert key is not None
    assert (key.framework, key.api_key_id, key.variable) == ("chatdev", "key_abc", "OPENAI_API_KEY_CHATDEV")
    assert ring.find(fingerprint(SECRET)) == key


def test_ids_and_the_old_admin_variable_are_no_frameworks() -> None:
    ring = read_keys(
        {
            "OPENAI_API_KEY": SECRET,
            "OPENAI_API_KEY_": SECRET,
            "OPENAI_API_KEY_USAGE_TRACKING": "sk-admin-x",
            "OPENAI_API_KEY_BAES_ID": "key_x",
            "OPENAI_API_KEY_USAGE_TRACKING_ID": "key_y",
        }
    )
    assert ring.keys == ()


def test_a_key_without_an_id_has_none() -> None:
    key = read_keys({"OPENAI_API_KEY_BAES": SECRET, "OPENAI_API_KEY_BAES_ID": " "}).of_framework("baes")
    assert key is not None
    assert key.api_key_id is None


def test_an_empty_key_is_not_configured() -> None:
    assert read_keys({"OPENAI_API_KEY_BAES": "  "}).keys == ()


def test_the_environment_stands_before_the_env_file(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("OPENAI_API_KEY_BAES=from-file\nOPENAI_API_KEY_GHSPEC='file-only'\n# a comment\n")
    ring = read_keys({"OPENAI_API_KEY_BAES": "from-environment"}, env_file)
    assert ring.find(fingerprint("from-environment")) is not None
    assert ring.find(fingerprint("from-file")) is None
    assert ring.find(fingerprint("file-only")) is not None


def test_a_missing_env_file_is_no_error(tmp_path: Path) -> None:
    assert read_keys({}, tmp_path / ".env").keys == ()


def test_a_secret_of_two_frameworks_belongs_to_neither_and_is_named() -> None:
    ring = read_keys({"OPENAI_API_KEY_A": SECRET, "OPENAI_API_KEY_B": SECRET, "OPENAI_API_KEY_C": "other"})
    assert ring.find(fingerprint(SECRET)) is None
    assert [[key.framework for key in same] for same in ring.shared()] == [["a", "b"]]


def test_the_ring_holds_no_secret() -> None:
    assert SECRET not in repr(read_keys({"OPENAI_API_KEY_A": SECRET}))


def test_a_fingerprint_is_the_first_sixteen_digits_of_the_sha256() -> None:
    assert fingerprint(SECRET) == hashlib.sha256(SECRET.encode()).hexdigest()[:16]
