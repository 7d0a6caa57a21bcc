"""Bytes to readings: a proxy that passes responses untouched and writes down what they say of usage.

A client's connection is a `lane` with a `far_side`, the upstream's: these two, `door` and `lane_server` have the
sockets. An `inbox` keeps what waits, `message_head` takes heads apart (`loose_head` those that are refused), `framing`
says which bytes are payload and where a message ends. What goes on, and what it means, is an `exchange`, sans-I/O: one
request and its answer; `drain` reads one whose client left. `desk` is what all connections share. `outer_proxy` says
which proxy of the environment stands before the upstream, `tunnel` asks it for one.

`labels` reads run and step from a request's path and headers, `endpoint` what kind of call it is; `recorder` writes its
start line, `attempt` follows it to its end. `upstream_url` says where it goes.

The response's payload passes through the `attempt` into a `Meter`. `meter` is sans-I/O: `decode` undoes compression on
a copy, `sse` makes events of a stream, `json_body` finds the wanted members of a JSON body, `usage` turns a usage
object into counts. `request_body` does the same for what a request tells.

A stream that would not tell its usage is asked for it: `asking` decides, `rewrite_request` puts the question into the
body as text, `rewrite_stream` takes the answer to it out again. `upstream` sends what submeter sends by itself.

The byte that completes the response, or whatever breaks it, makes the attempt write its settle line: `outcome` says
what happened on the wire.

A WebSocket is a `splice`: its bytes pass as they are, `socket_frames` makes messages of a copy. `socket_meter`,
sans-I/O, says which message begins and ends which response, and `socket_calls` writes their lines.

`serve` starts and stops the lane (`forking`: a forked child lets go of it), `control` answers the proxy's own paths,
`open_runs` picks up where an earlier proxy stopped. `in_process` is the meter inside a Python program, `child` its
proxy where it cannot be imported beside the program's libraries, `environment` what a client needs to be pointed here.
`live_page` shows what the `live_book` remembers and, by `live_figures`, what the ledger holds; `counters` are what
`prometheus` tells a scraper.

Several processes can be one proxy: `workers` starts them and starts them again (`worker_process`, `worker_settings`,
each at its `place`), `shared` is what they know together, on a `board`. `carrying` brings what they write into the
ledger, as `serve` has it do for one; `repeat` is its thread.

`door` is the second one, for programs that hard-code their URL: `forwarding` says what may pass it, `admission` what a
request that came by it is for. `authority` keeps its key and bundles, `certificates` says whom it may sign for,
`server_certificate` is what TLS clients are shown. `listen` says where the doors are; `control_client` asks a proxy
from outside.

`refusal` is what submeter answers by itself, `guesses` who is not heard at all, `call_log` what is said of a call that
has ended. Nothing here knows DuckDB or the Usage API.
"""

from .in_process import Run, Step, Submeter

__all__ = ["Run", "Step", "Submeter"]
