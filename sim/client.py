"""A plain client: a call straight to a URL, as a neighbour makes it who knows nothing of any proxy.

For the demo's bypass, for tests and for a look by hand. One connection a call, the standard library alone.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .frame import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One response, read to its end."""

    status: int
    headers: Mapping[str, str]
    """Lower-cased names."""
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def events(self) -> list[Json]:
        """The JSON of every `data:` line of a stream with plain line ends, `[DONE]` left out."""
        lines = [line[6:] for line in self.body.decode().split("\n") if line.startswith("data: ")]
        return [json.loads(line) for line in lines if line != "[DONE]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Calls with one key."""

    url: str
    """Scheme, host and port; a path is put in front of every call's."""
    secret: str
    timeout_s: float = 30.0

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """GET a path."""
        return self.send("GET", path, b"", headers or {})

    def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Reply:
        """POST a JSON body."""
        return self.send(
            "POST", path, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})}
        )

    def form(self, path: str, fields: Mapping[str, str], files: Mapping[str, bytes]) -> Reply:
        """POST a multipart form."""
        body, content_type = multipart(fields, files)
        return self.send("POST", path, body, {"Content-Type": content_type})

    def send(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """One call; raises what the socket or `http.client` raises."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname, parts.port, timeout=self.timeout_s)
        try:
            sent = {"Authorization": f"Bearer {self.secret}", **headers}
            connection.request(method, parts.path + path, body or None, sent)
            response = connection.getresponse()
            try:
                got = {name.lower(): value for name, value in response.getheaders()}
                return Reply(status=response.status, headers=got, body=response.read())
            finally:
                response.close()
        finally:
            connection.close()


def multipart(
    fields: Mapping[str, str], files: Mapping[str, bytes], *, filename: str | None = None
) -> tuple[bytes, str]:
    """A form's body and its content type; each file is named after its field where no name is given."""
    border = "submeter-sim-border"
    parts = [
        f'--{border}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ] + [
        f'--{border}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename or name}"\r\n'.encode()
        + b"Content-Type: application/octet-stream\r\n\r\n"
        + content
        + b"\r\n"
        for name, content in files.items()
    ]
    return b"".join(parts) + f"--{border}--\r\n".encode(), f"multipart/form-data; boundary={border}"
