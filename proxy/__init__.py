"""Bytes to readings: a proxy that passes responses untouched and writes down what they say of usage.

A request comes in at `tap`, the engine's hooks. `labels` reads run and step from its path and headers, `endpoint` what
kind of call it is; `recorder` writes its start line, `attempt` follows it to its end. `upstream_url` says where it
goes.

The response's chunks pass through the `attempt` into a `Meter` and on to the client. `meter` is sans-I/O: `decode`
undoes compression on a copy, `sse` makes events of a stream, `json_body` finds the wanted members of a JSON body,
`usage` turns a usage object into counts. `request_body` does the same for what a request tells.

A stream that would not tell its usage is asked for it: `asking` decides, `rewrite_request` puts the question into the
body as text, `rewrite_stream` takes the answer to it out again. `upstream` sends what submeter sends by itself.

The byte that completes the response, or whatever breaks it, makes the attempt write its settle line: `outcome` says
what happened on the wire.

A WebSocket has hooks of its own, `socket_tap`. `socket_meter`, sans-I/O, says which message begins and ends which
response, and `socket_calls` writes their lines.

`serve` starts and stops the engine (`forking`: a forked child lets go of it), `control` answers the proxy's own paths,
`open_runs` picks up where an earlier proxy stopped. `in_process` is the meter inside a Python program, `child` its
proxy where the engine cannot be imported beside the program's libraries, `environment` what a client needs to be
pointed here.

`intercept` is the second door, for programs that hard-code their URL: `forwarding` says what may pass it, `authority`
keeps its key and bundles, `certificates` says whom it may sign for. `listen` says where the doors are;
`control_client` asks a proxy from outside.

`refusal` is what submeter answers by itself, `guesses` who is not heard at all, `call_log` what is said of a call that
has ended. Only `tap`, `held`, `socket_tap`, `intercept` and `serve` know the engine; `engine_changes` and
`engine_refusals` are what we change in it.
Nothing here knows DuckDB or the Usage API.
"""

from .in_process import Run, Step, Submeter

__all__ = ["Run", "Step", "Submeter"]
