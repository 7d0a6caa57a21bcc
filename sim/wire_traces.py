"""Traces that the agents' SDK sends: taken, and nothing said of them."""

from __future__ import annotations

from .frame import Answer, Refusal, Request
from .state import State


def ingest(state: State, request: Request) -> Answer:
    """POST /v1/traces/ingest."""
    if not isinstance(request.body.get("data"), list):
        raise Refusal(400, "Missing required parameter: 'data'.", param="data", code="missing_required_parameter")
    return Answer(status=204, content_type="")
