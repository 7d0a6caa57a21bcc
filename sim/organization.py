"""Who may ask what of the organization, and its projects and keys.

Admin keys and API keys are two kinds: neither does the other's work. A secret is shown only as its two ends.
"""

from __future__ import annotations

from collections.abc import Mapping

from .frame import Answer, Json, Refusal, Request, of_json
from .settings import MANAGEMENT_SCOPE, USAGE_SCOPE, Key
from .state import State

LISTED = 20
LISTED_MAX = 100
"""Objects on one page of a list: when not asked for, and at most."""
KEYS_PAGE = "https://platform.openai.com/account/api-keys"
MISSING_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    "(i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the "
    "API from your browser and are prompted for a username and password. You can obtain an API key from "
    f"{KEYS_PAGE}."
)


def bearer(headers: Mapping[str, str]) -> str:
    """The secret of a request; refused with 401 where there is none."""
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise Refusal(401, MISSING_KEY)
    return secret.strip()


def api_key(state: State, secret: str) -> Key:
    """The key with this secret; refused with 401 where there is none."""
    key = state.key_of(secret)
    if key is None:
        raise incorrect(secret)
    return key


def check_admin(state: State, secret: str, scope: str) -> None:
    """Refuse whoever is not the admin (401) or lacks the scope (403, or 401 by a switch)."""
    settings = state.settings
    if secret != settings.admin_key and state.key_of(secret) is None:
        raise incorrect(secret)
    if secret != settings.admin_key or scope not in settings.admin_scopes:
        message = (
            f"You have insufficient permissions for this operation. Missing scopes: {scope}. Check that you have the "
            "correct role in your organization, and if you're using a restricted API key, that it has the necessary "
            "scopes."
        )
        raise Refusal(settings.scope_status, message)


def incorrect(secret: str) -> Refusal:
    """The 401 for an unknown secret, which is shown starred but for its ends."""
    shown = secret if len(secret) <= 12 else secret[:8] + "*" * (len(secret) - 12) + secret[-4:]
    message = f"Incorrect API key provided: {shown}. You can find your API key at {KEYS_PAGE}."
    return Refusal(401, message, code="invalid_api_key")


def scope_of(path: str) -> str:
    """The scope that an organization path needs."""
    reads_usage = path.startswith("/v1/organization/usage/") or path == "/v1/organization/costs"
    return USAGE_SCOPE if reads_usage else MANAGEMENT_SCOPE


def projects(state: State, request: Request) -> Answer:
    """GET /v1/organization/projects."""
    names = dict.fromkeys(key.project_id for key in state.settings.keys)
    return of_json(
        _listed(
            request,
            [
                {
                    "id": name,
                    "object": "organization.project",
                    "name": name.removeprefix("proj_"),
                    "created_at": 1_711_471_533,
                    "archived_at": None,
                    "status": "active",
                }
                for name in names
            ],
        )
    )


def project_keys(state: State, request: Request) -> Answer:
    """GET /v1/organization/projects/{id}/api_keys."""
    project = request.path.split("/")[4]
    keys = [key for key in state.settings.keys if key.project_id == project]
    if not keys:
        raise Refusal(404, f"No project found with id '{project}'.", code="not_found")
    last: dict[str, float] = {}
    for entry in state.books.entries:
        if entry.api_key_id is not None:
            last[entry.api_key_id] = entry.started_at
    return of_json(
        _listed(
            request,
            [
                {
                    "object": "organization.project.api_key",
                    "redacted_value": key.secret[:8] + "*" * 16 + key.secret[-4:],
                    "name": key.name,
                    "created_at": 1_711_471_533,
                    "last_used_at": int(last[key.api_key_id]) if key.api_key_id in last else None,
                    "id": key.api_key_id,
                    "owner": {"type": "user", "user": {"object": "organization.project.user", "id": key.user_id}},
                }
                for key in keys
            ],
        )
    )


def _listed(request: Request, data: list[Json]) -> Json:
    """One page of a list: `limit` objects (20 unless asked, 100 at most) behind the one whose id is `after`."""
    asked = dict(request.query)
    limit = asked.get("limit", str(LISTED))
    if not limit.isdecimal() or not 1 <= int(limit) <= LISTED_MAX:
        message = f"Invalid 'limit': expected an integer from 1 to {LISTED_MAX}, but got '{limit}' instead."
        raise Refusal(400, message, param="limit", code="invalid_value")
    ids = [one["id"] for one in data]
    after = asked.get("after")
    if after is not None and after not in ids:
        raise Refusal(400, f"No object found with id '{after}'.", param="after", code="invalid_value")
    begin = 0 if after is None else ids.index(after) + 1
    shown = data[begin : begin + int(limit)]
    first, last = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
    more = begin + len(shown) < len(data)
    return {"object": "list", "data": shown, "first_id": first, "last_id": last, "has_more": more}
