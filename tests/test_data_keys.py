"""Framework keys: which variables are frameworks, and that no secret stays."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from submeter.data.env_file import BYTES_MAX
from submeter.data.error import SubmeterError
from submeter.data.keys import fingerprint, named_secret, read_keys, shows

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


def test_an_id_without_its_key_is_that_of_a_framework_whose_tokens_change() -> None:
    ring = read_keys(
        {
            "OPENAI_API_KEY_BAES_ID": "key_x",
            "OPENAI_API_KEY_CHATDEV": SECRET,
            "OPENAI_API_KEY_CHATDEV_ID": "key_y",
            "OPENAI_API_KEY_GHSPEC_ID": "its name",
            "OPENAI_API_KEY_USAGE_TRACKING_ID": "key_z",
            "OPENAI_API_KEY_ID": "key_w",
            "OTHER_ID": "key_v",
        }
    )
    assert ring.token_ids == {"baes": "key_x"}
    assert [ring.id_of_tokens(name) for name in ("BAES", "chatdev", None)] == ["key_x", None, None]


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


def test_a_secret_is_handed_out_only_from_where_it_was_read(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("OPENAI_API_KEY_BAES=from-file\n")
    (key,) = read_keys({}, env_file).keys
    assert named_secret(key, {}, env_file) == "from-file"
    assert named_secret(key, {"OPENAI_API_KEY_BAES": "another"}, env_file) is None
    assert named_secret(key, {}) is None


@pytest.mark.parametrize(
    ("redacted", "fits"),
    [
        ("sk-proj-********5678", True),
        ("sk-proj-abc...678", True),
        ("sk-...5678", True),
        ("sk-proj-ab\u20265678", True),
        ("sk-proj-********5679", False),
        ("sk-live-********5678", False),
        ("sk-proj-********78", False),
        (SECRET, False),
        ("****", False),
        ("", False),
        (SECRET + "..." + SECRET, False),
    ],
)
def test_a_redacted_secret_fits_by_both_its_ends(redacted: str, fits: bool) -> None:
    assert shows(redacted, SECRET) is fits


def test_one_key_under_two_frameworks_is_an_error_for_each_of_them_and_for_nobody_else() -> None:
    ring = read_keys({"OPENAI_API_KEY_A": SECRET, "OPENAI_API_KEY_B": SECRET, "OPENAI_API_KEY_C": "other"})
    ring.check_apart("c")
    for framework in ("a", "b", None):
        with pytest.raises(SubmeterError, match="One key is used for a and b"):
            ring.check_apart(framework)


@pytest.mark.parametrize(
    "ids",
    [
        {"OPENAI_API_KEY_A_ID": "key_x", "OPENAI_API_KEY_B_ID": "key_x"},
        {"OPENAI_API_KEY_A": SECRET, "OPENAI_API_KEY_A_ID": "key_x", "OPENAI_API_KEY_B_ID": "key_x"},
    ],
)
def test_one_key_under_two_frameworks_given_by_an_id_alone_is_an_error_for_each_of_them(ids: dict[str, str]) -> None:
    ring = read_keys({**ids, "OPENAI_API_KEY_C_ID": "key_c"})
    ring.check_apart("c")
    for framework in ("a", "b", None):
        with pytest.raises(SubmeterError, match="One key is used for a and b: they have the same id") as raised:
            ring.check_apart(framework)
        assert "OPENAI_API_KEY_A_ID and OPENAI_API_KEY_B_ID" in raised.value.next_step


def test_keys_and_ids_that_differ_are_apart() -> None:
    read_keys(
        {"OPENAI_API_KEY_A": SECRET, "OPENAI_API_KEY_A_ID": "key_a", "OPENAI_API_KEY_B_ID": "key_b"}
    ).check_apart()


def test_an_environment_file_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"\xef\xbb\xbfOPENAI_API_KEY_CHATDEV=sk-of-chatdev\n")
    assert [key.framework for key in read_keys({}, path).keys] == ["chatdev"]
    path.write_text(f"{'#' * BYTES_MAX}\nOPENAI_API_KEY_CHATDEV=sk-of-chatdev\n")
    with pytest.raises(SubmeterError, match="too large"):
        read_keys({}, path)
    path.unlink()
    os.mkfifo(path)
    assert read_keys({}, path).keys == ()
