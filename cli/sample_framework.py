"""A small agent framework, for the demo: it knows nothing of submeter.

    OPENAI_BASE_URL=... OPENAI_API_KEY=... python -m submeter.cli.sample_framework

It reads one line of JSON per step from standard input, `{"calls": [["chat", "prompt words"], ...]}`, makes these calls
one after the other, as an OpenAI client would (two retries on 408, 409, 429 and 5xx), and answers each line with one
line of JSON: what its client saw. Only the standard library, so that it runs wherever Python does.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from typing import Any
from urllib.parse import urlsplit

RETRIES = 2
RETRIED_STATUSES = frozenset({408, 409, 429})
MODEL = "gpt-4o-mini"


def request_of(kind: str, prompt: str) -> tuple[str, dict[str, Any]]:
    """Path and body of one call."""
    messages = [{"role": "system", "content": "You write software."}, {"role": "user", "content": prompt}]
    if kind == "chat":
        return "/chat/completions", {"model": MODEL, "messages": messages}
    if kind == "stream":
        options = {"stream": True, "stream_options": {"include_usage": True}}
        return "/chat/completions", {"model": MODEL, "messages": messages, **options}
    if kind == "response":
        return "/responses", {"model": MODEL, "input": prompt}
    if kind == "response_stream":
        return "/responses", {"model": MODEL, "input": prompt, "stream": True}
    return "/embeddings", {"model": "text-embedding-3-small", "input": prompt}


def call(base_url: str, api_key: str, kind: str, prompt: str) -> int:
    """Make one call, retrying as the SDKs do; the number of attempts it took."""
    base = urlsplit(base_url)
    path, body = request_of(kind, prompt)
    for attempt in range(RETRIES + 1):
        connection = http.client.HTTPConnection(base.hostname or "", base.port, timeout=60)
        headers = {
            "Authorization": f"Bearer {api_key}",
            "Content-Type": "application/json",
            "X-Stainless-Retry-Count": str(attempt),
        }
        connection.request("POST", base.path + path, json.dumps(body), headers)
        response = connection.getresponse()
        response.read()
        connection.close()
        if response.status < 400:
            return attempt + 1
        if response.status < 500 and response.status not in RETRIED_STATUSES:
            raise SystemExit(f"{path} answered {response.status}")
    raise SystemExit(f"{path} failed {RETRIES + 1} times")


def main() -> None:
    base_url, api_key = os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"]
    for line in sys.stdin:
        attempts = [call(base_url, api_key, kind, prompt) for kind, prompt in json.loads(line)["calls"]]
        print(json.dumps({"calls": len(attempts), "attempts": sum(attempts)}), flush=True)


if __name__ == "__main__":
    main()
