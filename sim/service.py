"""The pretend service without a socket: a request read, judged, routed and answered.

The order is the point: who is asking, what is asked, the counts into the books, and only then a body. Bytes on a
connection are the server's, faults are laid over the answer afterwards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlencode

from tornado.httputil import HTTPFile, HTTPHeaders, parse_body_arguments

from . import (
    organization,
    usage_api,
    wire_audio,
    wire_batches,
    wire_chat,
    wire_files,
    wire_images,
    wire_items,
    wire_legacy,
    wire_realtime,
    wire_responses,
    wire_traces,
    wire_vectors,
)
from .faults import Fault, FaultKind
from .frame import Answer, Json, Refusal, Request, Upload
from .organization import api_key, bearer, check_admin, scope_of
from .settings import Key
from .spoil import refusal
from .state import State
from .usage_query import FILTERS
from .words import chance

Endpoint = Callable[[State, Request], Answer]

ANY = "*"
METHODS = ("GET", "POST", "DELETE")
ROUTES: tuple[tuple[str, str, Endpoint], ...] = (
    ("POST", r"/v1/chat/completions", wire_chat.create),
    ("GET", r"/v1/chat/completions", wire_chat.listing),
    (ANY, r"/v1/chat/completions/[^/]+", wire_chat.retrieve),
    ("GET", r"/v1/chat/completions/[^/]+/messages", wire_chat.messages_of),
    ("POST", r"/v1/completions", wire_legacy.create),
    ("POST", r"/v1/responses", wire_responses.create),
    ("POST", r"/v1/responses/input_tokens", wire_responses.input_tokens),
    ("POST", r"/v1/responses/compact", wire_responses.compact),
    ("GET", r"/v1/responses/[^/]+", wire_responses.retrieve),
    ("POST", r"/v1/responses/[^/]+/cancel", wire_responses.cancel),
    ("DELETE", r"/v1/responses/[^/]+", wire_responses.delete),
    ("GET", r"/v1/responses/[^/]+/input_items", wire_items.input_items),
    ("POST", r"/v1/conversations", wire_items.create),
    (ANY, r"/v1/conversations/[^/]+", wire_items.retrieve),
    ("POST", r"/v1/conversations/[^/]+/items", wire_items.add),
    ("GET", r"/v1/conversations/[^/]+/items", wire_items.listing),
    (ANY, r"/v1/conversations/[^/]+/items/[^/]+", wire_items.one_item),
    ("POST", r"/v1/files", wire_files.upload),
    ("GET", r"/v1/files", wire_files.files),
    (ANY, r"/v1/files/[^/]+", wire_files.file),
    ("GET", r"/v1/files/[^/]+/content", wire_files.content),
    ("POST", r"/v1/batches", wire_batches.create),
    ("GET", r"/v1/batches", wire_batches.listing),
    ("GET", r"/v1/batches/[^/]+", wire_batches.retrieve),
    ("POST", r"/v1/batches/[^/]+/cancel", wire_batches.cancel),
    ("POST", r"/v1/vector_stores", wire_files.create),
    ("GET", r"/v1/vector_stores", wire_files.stores),
    (ANY, r"/v1/vector_stores/[^/]+", wire_files.store),
    ("POST", r"/v1/vector_stores/[^/]+/search", wire_files.search),
    ("POST", r"/v1/vector_stores/[^/]+/files", wire_files.attach),
    ("GET", r"/v1/vector_stores/[^/]+/files", wire_files.attached),
    (ANY, r"/v1/vector_stores/[^/]+/files/[^/]+", wire_files.attached_one),
    ("POST", r"/v1/vector_stores/[^/]+/file_batches", wire_files.attach_many),
    ("GET", r"/v1/vector_stores/[^/]+/file_batches/[^/]+", wire_files.file_batch),
    ("GET", r"/v1/vector_stores/[^/]+/file_batches/[^/]+/files", wire_files.attached),
    ("POST", r"/v1/realtime/client_secrets", wire_realtime.client_secret),
    ("POST", r"/v1/traces/ingest", wire_traces.ingest),
    ("POST", r"/v1/decisions", wire_responses.decision),
    ("POST", r"/v1/embeddings", wire_vectors.embed),
    ("POST", r"/v1/moderations", wire_vectors.moderate),
    ("GET", r"/v1/models", wire_vectors.models),
    ("GET", r"/v1/models/[^/]+", wire_vectors.one_model),
    ("POST", r"/v1/images/(generations|edits|variations)", wire_images.create),
    ("POST", r"/v1/audio/transcriptions", wire_audio.transcribe),
    ("POST", r"/v1/audio/translations", wire_audio.translate),
    ("POST", r"/v1/audio/speech", wire_audio.speak),
    ("GET", r"/v1/organization/usage/[^/]+", usage_api.usage),
    ("GET", r"/v1/organization/costs", usage_api.costs),
    ("GET", r"/v1/organization/projects", organization.projects),
    ("GET", r"/v1/organization/projects/[^/]+/api_keys", organization.project_keys),
)

NOBODY = Key(secret="", api_key_id="", project_id="", organization="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request as it came off the wire."""

    method: str
    target: str
    headers: Mapping[str, str]
    """Lower-cased names."""
    raw: bytes
    at: float
    """Seconds since 1970, by the given clock, when its headers were complete."""
    request_id: str

    @property
    def path(self) -> str:
        """The path without its query."""
        return self.target.partition("?")[0]


def answer(state: State, received: Received, faults: Sequence[Fault] = ()) -> tuple[Answer, Key]:
    """Answer one request, and tell whose key it came with (`NOBODY` where it has none).

    A `status` fault that costs nothing is answered before anything is looked at or written into the books.
    """
    key = NOBODY
    for fault in faults:
        if fault.kind is FaultKind.STATUS and not fault.costs:
            return refusal(fault), key
        if fault.kind is FaultKind.FILTER_IGNORED:
            received = replace(received, target=_unfiltered(received.target))
    try:
        path = received.path.removeprefix(state.settings.prefix)
        secret = bearer(received.headers)
        if path.startswith("/v1/organization/"):
            check_admin(state, secret, scope_of(path))
        else:
            key = api_key(state, secret)
        endpoint = _endpoint(received.method, path)
        return endpoint(state, _read(state, received, path, key)), key
    except Refusal as refused:
        return refused.answer(), key


def _unfiltered(target: str) -> str:
    """The same question with its filters taken out."""
    path, _, query = target.partition("?")
    kept = [(name, value) for name, value in parse_qsl(query) if name.removesuffix("[]") not in FILTERS]
    return f"{path}?{urlencode(kept)}"


def _endpoint(method: str, path: str) -> Endpoint:
    known = False
    for wanted, pattern, endpoint in ROUTES:
        if re.fullmatch(pattern, path):
            known = True
            if wanted == method or (wanted == ANY and method in METHODS):
                return endpoint
    if known:
        raise Refusal(405, f"Not allowed to {method} on {path} (HINT: Perhaps you meant to use another method?)")
    raise Refusal(404, f"Invalid URL ({method} {path})")


def _read(state: State, received: Received, path: str, key: Key) -> Request:
    content_type = received.headers.get("content-type", "")
    files: dict[str, Upload] = {}
    if received.method != "POST" or not received.raw:
        body: Json = {}
    elif content_type.startswith("multipart/form-data"):
        body, files = _form(content_type, received.raw)
    else:
        body = _json(received.raw)
    asked = _asked(received.raw, body)
    echo = state.repetition(path, asked)
    return Request(
        method=received.method,
        target=received.target,
        path=path,
        query=parse_qsl(received.target.partition("?")[2], keep_blank_values=True),
        headers=received.headers,
        body=body,
        raw=received.raw,
        at=received.at,
        request_id=received.request_id,
        key=key,
        rng=chance(state.settings.seed, path, asked.hex(), echo),
        echo=echo,
        files=files,
        any_model=state.settings.any_model,
    )


def _asked(raw: bytes, body: Json) -> bytes:
    """What decides the counts: how a stream is to be shown costs nothing, so it is left out of that."""
    if body.get("stream") is not True:
        return raw
    kept = {name: value for name, value in body.items() if name != "stream_options"}
    return json.dumps(kept, sort_keys=True).encode()


def _json(raw: bytes) -> Json:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        message = (
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP "
            "library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you "
            "have trouble figuring out how to fix this, please contact us through our help center at help.openai.com.)"
        )
        raise Refusal(400, message)
    return body


def _form(content_type: str, raw: bytes) -> tuple[Json, dict[str, Upload]]:
    arguments: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    try:
        parse_body_arguments(content_type, raw, arguments, files, HTTPHeaders({"Content-Type": content_type}))
    except Exception as error:
        # The parser raises its own HTTPInputError or a plain ValueError, by version: both mean a broken form.
        raise Refusal(400, "Could not parse multipart form") from error
    body: Json = {}
    for name, values in arguments.items():
        texts = [value.decode("utf-8", "replace") for value in values]
        body[name.removesuffix("[]")] = texts if name.endswith("[]") else texts[-1]
    return body, {
        name.removesuffix("[]"): Upload(name=many[-1].filename, content=b"".join(one.body for one in many))
        for name, many in files.items()
    }
