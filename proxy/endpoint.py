"""Which operation a request is, and whether it makes billable work.

One table, read top to bottom by people: a template, what a POST to it means, and the Usage API path that bills it.
Sources: docs/openai-usage.md A.1 (new work or a read of old work, per operation) and C.4 (which work lands where),
2026-11-22; the paths of the newest openai SDK, each of which must stand here (`tests/sdk_paths.py`). GET, HEAD, OPTIONS
and DELETE never create. A POST we do not know is taken for a create, flagged `unknown_endpoint`, so that it stands as
unknown rather than vanish from the sums.

Never here: hosts, queries, headers, run and step labels (they are taken off the path before), and what the messages of
a WebSocket are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from ..data.call import Flag, Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One operation of the API as our table knows it."""

    name: str | None
    """Template without the version, such as `chat/completions` or `responses/{id}`; None: not in our table."""
    operation: Operation
    usage_endpoint: str | None
    """Last part of the Usage API path that bills it; None: none does, or we do not know."""
    flags: tuple[Flag, ...] = ()


_CREATES: dict[str, str | None] = {
    "chat/completions": "completions",
    "completions": "completions",
    "engines/{id}/completions": "completions",
    "edits": "completions",
    "responses": "completions",
    "responses/compact": "completions",
    "decisions": "decisions",
    "embeddings": "embeddings",
    "engines/{id}/embeddings": "embeddings",
    "images/generations": "images",
    "images/edits": "images",
    "images/variations": "images",
    "audio/transcriptions": "audio_transcriptions",
    "audio/translations": "audio_transcriptions",
    "audio/speech": "audio_speeches",
    "moderations": "moderations",
    # A batch's tokens are billed over hours with `batch = true`, which no minute can be set against (A.9).
    "batches": None,
    # Seconds and training are in the costs only (C.4).
    "videos": None,
    "videos/edits": None,
    "videos/extensions": None,
    "videos/{id}/remix": None,
    "live/sessions": None,
    "live/sessions/{id}/fork": None,
    "fine_tuning/jobs": None,
    "fine-tunes": None,
    "fine_tuning/alpha/graders/run": None,
    # Assistants are gone since 2026-08-26; a run's tokens were model tokens, and the turn that answers a tool call
    # is where a streamed run first tells its usage.
    "threads/runs": "completions",
    "threads/{id}/runs": "completions",
    "threads/{id}/runs/{id}/submit_tool_outputs": "completions",
}
"""What a POST creates, and the Usage API path that bills it."""

_UNTOLD_CREATES: tuple[str, ...] = (
    "agents/sessions",
    "agents/sessions/{id}/events",
    "agents/automations/{id}/invocations",
)
"""What makes model work that its answer does not tell: the Agents API's turns (A.8), on models of several agents.

They are flagged `unknown_endpoint` like a path that is not in the table: what they used may be anything.
"""

_READS: tuple[str, ...] = (
    "chat/completions/{id}",
    "chat/completions/{id}/messages",
    "responses/{id}",
    "responses/{id}/cancel",
    "responses/{id}/input_items",
    "responses/input_tokens",
    "batches/{id}",
    "batches/{id}/cancel",
    "models",
    "models/{id}",
    "engines",
    "engines/{id}",
    "files",
    "files/{id}",
    "files/{id}/content",
    "uploads",
    "uploads/{id}/parts",
    "uploads/{id}/complete",
    "uploads/{id}/cancel",
    "vector_stores",
    "vector_stores/{id}",
    "vector_stores/{id}/search",
    "vector_stores/{id}/files",
    "vector_stores/{id}/files/{id}",
    "vector_stores/{id}/files/{id}/content",
    "vector_stores/{id}/file_batches",
    "vector_stores/{id}/file_batches/{id}",
    "vector_stores/{id}/file_batches/{id}/cancel",
    "vector_stores/{id}/file_batches/{id}/files",
    "assistants",
    "assistants/{id}",
    "assistants/{id}/files",
    "assistants/{id}/files/{id}",
    "threads",
    "threads/{id}",
    "threads/{id}/messages",
    "threads/{id}/messages/{id}",
    "threads/{id}/messages/{id}/files",
    "threads/{id}/messages/{id}/files/{id}",
    "threads/{id}/runs/{id}",
    "threads/{id}/runs/{id}/cancel",
    "threads/{id}/runs/{id}/steps",
    "threads/{id}/runs/{id}/steps/{id}",
    "conversations",
    "conversations/{id}",
    "conversations/{id}/items",
    "conversations/{id}/items/{id}",
    "containers",
    "containers/{id}",
    "containers/{id}/files",
    "containers/{id}/files/{id}",
    "containers/{id}/files/{id}/content",
    "evals",
    "evals/{id}",
    "evals/{id}/runs",
    "evals/{id}/runs/{id}",
    "evals/{id}/runs/{id}/cancel",
    "evals/{id}/runs/{id}/output_items",
    "evals/{id}/runs/{id}/output_items/{id}",
    "fine-tunes/{id}",
    "fine-tunes/{id}/cancel",
    "fine-tunes/{id}/events",
    "fine_tuning/jobs/{id}",
    "fine_tuning/jobs/{id}/cancel",
    "fine_tuning/jobs/{id}/pause",
    "fine_tuning/jobs/{id}/resume",
    "fine_tuning/jobs/{id}/events",
    "fine_tuning/jobs/{id}/checkpoints",
    "fine_tuning/checkpoints/{id}/permissions",
    "fine_tuning/checkpoints/{id}/permissions/{id}",
    "fine_tuning/alpha/graders/validate",
    "videos/{id}",
    "videos/{id}/content",
    "videos/characters",
    "videos/characters/{id}",
    "audio/voices",
    "audio/voice_consents",
    "audio/voice_consents/{id}",
    "skills",
    "skills/{id}",
    "skills/{id}/versions",
    "skills/{id}/versions/{id}",
    "chatkit/sessions",
    "chatkit/sessions/{id}/cancel",
    "chatkit/threads",
    "chatkit/threads/{id}",
    "chatkit/threads/{id}/items",
    "content_provenance_checks",
    # The work of these goes past an HTTP proxy (WebRTC, SIP) or comes over a WebSocket of its own (A.6).
    "realtime",
    "realtime/client_secrets",
    "realtime/sessions",
    "realtime/transcription_sessions",
    "realtime/calls",
    "realtime/calls/{id}/accept",
    "realtime/calls/{id}/hangup",
    "realtime/calls/{id}/refer",
    "realtime/calls/{id}/reject",
    "realtime/translations/client_secrets",
    "live/sessions/{id}/accept",
    "live/sessions/{id}/content",
    "live/sessions/{id}/hangup",
    "live/sessions/{id}/refer",
    "live/sessions/{id}/reject",
    # The Agents API's own things; what makes work there is in `_UNTOLD_CREATES`.
    "agents",
    "agents/{id}",
    "agents/automations",
    "agents/automations/{id}",
    "agents/automations/{id}/pause",
    "agents/automations/{id}/resume",
    "agents/environments",
    "agents/environments/{id}",
    "agents/environments/{id}/files",
    "agents/environments/templates",
    "agents/environments/templates/{id}",
    "agents/sessions/{id}",
    "vaults",
    "vaults/{id}",
    "vaults/{id}/credentials",
    "vaults/{id}/credentials/{id}",
    "webhook_endpoints",
    "webhook_endpoints/{id}",
    "webhook_endpoints/{id}/rotate_secret",
    "webhook_endpoints/{id}/test",
    # openai-agents sends its traces there, to the fixed host, whatever the base URL is.
    "traces/ingest",
    # Below `organization/` everything is a read, and needs no line here; its projects have a few paths of their own.
    "projects/{id}/roles",
    "projects/{id}/roles/{id}",
    "projects/{id}/groups/{id}/roles",
    "projects/{id}/groups/{id}/roles/{id}",
    "projects/{id}/users/{id}/roles",
    "projects/{id}/users/{id}/roles/{id}",
)
"""What only reads, stores, counts or cancels, by whatever method (A.1, B)."""

_METERED_SOCKETS = frozenset({"responses", "realtime"})
_NEVER_CREATE = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "TRACE"})
_VERSION = re.compile(r"v[0-9]+(?:alpha|beta)?[0-9]*\Z")
_SEGMENTS_MAX = 32

_Tree = dict[str, "_Tree"]


def _grow() -> tuple[_Tree, dict[str, Endpoint]]:
    """The table as a tree of segments (`{id}` matches any one), and what a POST to each template is."""
    tree: _Tree = {}
    endpoints: dict[str, Endpoint] = {}
    for name, usage_endpoint in _CREATES.items():
        endpoints[name] = Endpoint(name=name, operation=Operation.CREATE, usage_endpoint=usage_endpoint)
    for name in _UNTOLD_CREATES:
        endpoints[name] = Endpoint(
            name=name, operation=Operation.CREATE, usage_endpoint=None, flags=(Flag.UNKNOWN_ENDPOINT,)
        )
    for name in _READS:
        endpoints[name] = Endpoint(name=name, operation=Operation.READ, usage_endpoint=None)
    for name in endpoints:
        branch = tree
        for segment in name.split("/"):
            branch = branch.setdefault(segment, {})
        branch[""] = {}
    return tree, endpoints


_TREE, _ENDPOINTS = _grow()
_ROOTS = frozenset(_TREE) | {"organization"}
_UNKNOWN_CREATE = Endpoint(name=None, operation=Operation.CREATE, usage_endpoint=None, flags=(Flag.UNKNOWN_ENDPOINT,))


@lru_cache(maxsize=1024)
def find_endpoint(method: str, path: str) -> Endpoint:
    """The operation that `method` on `path` (without query) is; total, it never raises.

    Whatever stands before the API's own path is tolerated: nothing, `/v1`, `/openai/v1`,
    `/openai/deployments/<name>`; so are doubled and trailing slashes.
    """
    segments = _without_prefix([segment for segment in path.split("/", _SEGMENTS_MAX) if segment])
    if segments and segments[0] == "organization":
        kept = 3 if segments[1:2] == ["usage"] else 2
        return Endpoint(name="/".join(segments[:kept])[:128], operation=Operation.READ, usage_endpoint=None)
    name = _match(_TREE, segments)
    if name is None or _ENDPOINTS[name].operation is Operation.READ:
        # `{id}` matches any segment, also the `responses` of a gateway's `agents/responses`.
        name = _create_below(segments) or name
    if method.upper() in _NEVER_CREATE:
        return Endpoint(name=name, operation=Operation.READ, usage_endpoint=None)
    if name is None or (method.upper() != "POST" and _ENDPOINTS[name].operation is Operation.CREATE):
        return _UNKNOWN_CREATE
    return _ENDPOINTS[name]


@lru_cache(maxsize=1024)
def find_socket_endpoint(path: str) -> Endpoint:
    """The operation that the handshake of a WebSocket on `path` (without query) is; total, it never raises.

    A read where its messages tell what they use, in rows of their own; elsewhere (Live, translation) a create that
    tells nothing.
    """
    found = find_endpoint("GET", path)
    if found.name in _METERED_SOCKETS:
        return found
    return Endpoint(name=found.name, operation=Operation.CREATE, usage_endpoint=None, flags=(Flag.UNKNOWN_ENDPOINT,))


def _without_prefix(segments: list[str]) -> list[str]:
    """The segments from the API's own first one on; all of them where none is known."""
    start = 0
    for index, segment in enumerate(segments):
        if segment == "deployments" and index + 2 < len(segments):
            start = index + 2
            break
        if _VERSION.match(segment) and index + 1 < len(segments):
            start = index + 1
            break
    for index in range(start, len(segments)):
        if segments[index] in _ROOTS:
            return segments[index:]
    return segments


def _create_below(segments: list[str]) -> str | None:
    """The create that the end of a path names, where its beginning is none of ours after all; None: it names none.

    A gateway's own path may begin like one of the API's (`projects/p/locations/l/endpoints/openapi/chat/completions`).
    Only creates are looked for: a call must not be lost because its path ends like that of a read.
    """
    for index in range(1, len(segments)):
        if segments[index] in _ROOTS:
            name = _match(_TREE, segments[index:])
            if name is not None and _ENDPOINTS[name].operation is Operation.CREATE:
                return name
    return None


def _match(branch: _Tree, segments: list[str], at: int = 0) -> str | None:
    """The template that fits all segments, a literal one before `{id}`; None: none does."""
    if at == len(segments):
        return "" if "" in branch else None
    for step in (segments[at], "{id}"):
        if step in branch and (rest := _match(branch[step], segments, at + 1)) is not None:
            return f"{step}/{rest}" if rest else step
    return None
