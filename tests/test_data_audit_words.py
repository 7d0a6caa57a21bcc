"""The words for verdicts and reasons."""

from __future__ import annotations

from submeter.audit.verdict import Reason, Verdict
from submeter.data.audit_words import REASONS, VERDICTS, reason_words


def test_every_verdict_and_every_reason_has_its_words_and_no_other_has() -> None:
    assert set(VERDICTS) == {verdict.value for verdict in Verdict}
    assert set(REASONS) == {reason.value for reason in Reason}


def test_a_verdict_without_a_reason_has_no_words_for_one_and_a_reason_of_a_newer_submeter_is_shown_as_it_is() -> None:
    assert reason_words(None) is None
    assert reason_words("of_tomorrow") == "of_tomorrow"
