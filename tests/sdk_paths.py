"""Every path that an installed openai SDK can POST to, read from its own source, without importing it.

    python tests/sdk_paths.py .venv-clients/openai-3.11      # each path, and what the meter's table says of it

Its resource classes name each path as a literal, or as the first argument of `path_template`. Never here: the network.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

_SENDERS = frozenset({"_post", "_put", "_patch"})


def sdk_post_paths(room: Path) -> frozenset[str]:
    """Paths without version and query, with `{name}` where an id stands, of the SDK in this virtual environment."""
    [resources] = room.glob("lib/python*/site-packages/openai/resources")
    return frozenset(path for file in sorted(resources.rglob("*.py")) for path in _paths_in(file))


def _paths_in(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _SENDERS:
            path = _literal(node.args[0]) if node.args else None
            if path is None:
                raise ValueError(f"{file}:{node.lineno}: the SDK names a path in a way that is not known here")
            yield path.partition("?")[0]


def _literal(node: ast.expr) -> str | None:
    if isinstance(node, ast.Call) and node.args:
        return _literal(node.args[0])
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


if __name__ == "__main__":
    from submeter.proxy.endpoint import find_endpoint

    for path in sorted(sdk_post_paths(Path(sys.argv[1]))):
        found = find_endpoint("POST", f"/v1{path}")
        print(f"{path:90} {found.operation:7} {found.usage_endpoint or '-':22} {found.name}")
