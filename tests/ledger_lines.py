"""A referee's world as journals: the lines that proxies, an orchestrator and an import would write of it, and when.

A process has a clock of its own. What it does not get to write (a call past the meter, the end of a call after the
process was killed) is not here; what another host wrote is, from when its journal is copied in.
"""

from __future__ import annotations

import random
from pathlib import Path

from ledger_process import Process, us
from referee_calls import ASKED, DAY, Call, K
from referee_world import World

from submeter.data.call import LabelSource, Operation, Outcome, Result, Start, Usage, settle_line, start_line
from submeter.data.journal import host_id, new_call_id

BASE = 29_359_760
"""Minutes since 1970 of a world's minute 0, so that worlds begin on 2025-10-28 at 10:00 UTC or a little later."""
STEP = 0.5
"""Clocks are corrected in steps of half a minute."""
NO_PROCESS = 5_000_000
"""A process id that no system gives."""
FRAMEWORK_STYLES = ("marks", "marks", "marks", "marks", "urls", "imports")
PLUS_ONLY = ("none", "hide one", "hide a burst", "hide in every run", "unknown", "stranger", "flap")
"""Troubles in which nothing that was counted is on no bill, so that more excess leaves the errors of one sign."""


class Scribe:
    """Writes a world's journals as far as a moment. `shift`: minutes by which this world is later than its seed's."""

    def __init__(self, world: World, folder: Path, *, later: int, number: int) -> None:
        self.world, self.folder, self.later, self.number = world, folder, later, number
        self.rng = rng = random.Random(world.seed * 7 + 1)
        self.framework = f"f{number}"
        ambiguous = any(run.ambiguous for run in world.runs)
        self.style = "imports" if ambiguous else rng.choice(FRAMEWORK_STYLES)
        self.plus_only = world.trouble in PLUS_ONLY
        world.shift = K
        self.names = {name: name for name in range(len(world.runs))}
        """Runs of the world to the runs of the ledger: one may begin again, which is a second episode."""
        self.imported_at: dict[int, float] = {}
        self.lost: set[int] = set()
        """`id` of calls whose proxy was killed before they ended."""
        self.late_id: tuple[str | None, float] | None = None
        """The id that the first key has at first, and until when."""
        self.unseen_until: dict[int, float] = {}
        """`id` of calls to when their journal is copied in."""
        self.processes: list[Process] = []
        self._make_processes()
        self._attribute()
        self._write_marks()
        self._write_calls()
        for process in self.processes:
            process.lines.sort(key=lambda line: line[0])

    # Who writes

    def _make_processes(self) -> None:
        world, rng = self.world, self.rng
        killed = rng.random() < 0.1 and self.plus_only and self.style != "imports"
        # Clocks that are far off are so on every host of a world: episodes of a run are told by times as they were
        # written, and a run seen by clocks that are an hour apart would end before it was over.
        self.far = 0 if killed else rng.choice((0, 0, 0, rng.randint(-40, 40), rng.randint(-240, 240)))
        self.proxies: list[Process] = []
        for place, clock in enumerate(world.clocks):
            dated = killed or self.far != 0 or self.style == "imports" or rng.random() < 0.6
            residual = rng.uniform(-12.0, 12.0) / 60 if dated else clock
            self.proxies.append(
                Process(
                    name=f"{self.number}-{'ab'[place]}",
                    host=host_id() if killed and not place else f"host-{self.number}-{place}",
                    mode="proxy",
                    offset=self.far * STEP + residual,
                    residual=residual,
                    dated=dated,
                    here=killed and not place,
                    begun_at=1000.0 - rng.uniform(0, 3),
                )
            )
        self.processes += self.proxies
        if rng.random() < 0.15 and self.plus_only and self.style != "imports":
            self.proxies[1].copied_at = world.end + rng.choice((20.0, 75.0, 140.0, 30 * 60.0))
        self.again: Process | None = None
        if killed:
            first = self.proxies[0]
            first.killed_at = rng.uniform(1000, world.end)
            self.again = Process(
                name=f"{self.number}-c",
                host=first.host,
                mode="proxy",
                offset=first.offset,
                residual=first.residual,
                dated=True,
                here=True,
                begun_at=first.killed_at + 0.01,
            )
            self.processes.append(self.again)

    def _attribute(self) -> None:
        """Which proxy saw which call, and what that makes of the world."""
        world, rng = self.world, self.rng
        clocks, first = list(world.clocks), self.proxies[0]
        self.by: dict[int, Process] = {}
        for call in world.calls:
            if call.standing == "hidden":
                continue
            second = call.clock == clocks[1] and clocks[1] != clocks[0] and self.style != "imports"
            process = self.proxies[1] if second else first
            killed = process.killed_at
            if killed is not None:
                said_last = call.end if call.told < 0 else call.begin + 0.001
                if call.begin >= killed and self.again is not None:
                    process = self.again
                elif said_last >= killed:
                    self._lose(call)
            self.by[id(call)] = process
            call.clock = process.residual
            call.end_clock = max(process.residual, 0.0) if call.end_clock == 0.0 or call.told >= 0 else process.residual
            if process.copied_at >= 0:
                self.unseen_until[id(call)] = process.copied_at
        if self.style == "imports":
            self._imported()
        elif self.style == "urls":
            self._named_by_urls()
        elif rng.random() < 0.15:
            self._begin_again()
        if self.plus_only and self.proxies[0].offset < 1 and rng.random() < 0.08:
            # After the proxy has told the id that it was given: the latest told is the one that holds.
            told_at = max(1002.0, world.end + rng.choice((-5.0, 80.0, 150.0)))
            self.late_id = (rng.choice((None, f"key_wrong_{self.number}")), told_at)

    def _lose(self, call: Call) -> None:
        """Nobody knows what became of it, nor what it was billed as, whatever it was."""
        self.lost.add(id(call))
        call.standing, call.any_model, call.shown_model = "unknown", True, None
        call.told, call.optional = -1.0, False

    def _imported(self) -> None:
        """No call says its run: it is that of the imported run in whose time it began, if that is only one."""
        world = self.world
        for run in world.runs:
            run.ambiguous = 0
        for call in world.calls:
            if call.standing == "hidden":
                continue
            # Marks and calls are by one clock, so that what is compared is compared in truth.
            inside = [name for name, run in enumerate(world.runs) if us(run.begin) <= us(call.begin) < us(run.end)]
            call.labelled = len(inside) == 1
            if len(inside) > 1:
                for name in inside:
                    world.runs[name].ambiguous += 1
            elif call.run not in inside:
                call.run = inside[0] if inside else None
            if not inside:
                call.labelled = True
        for name, run in enumerate(world.runs):
            self.imported_at[name] = run.end + self.rng.choice((0.02, 3.0, 40.0, 100.0))

    def _named_by_urls(self) -> None:
        """Runs have no marks: one is from its first call to its last, and what was hidden outside is nobody's."""
        world = self.world
        for name, run in enumerate(world.runs):
            seen = [call for call in world.calls if call.run == name and call.standing != "hidden"]
            for call in world.calls:
                if call.run == name and call.standing == "hidden":
                    inside = seen and min(c.begin for c in seen) <= call.begin <= max(c.end for c in seen)
                    call.run = name if inside else None
            if seen:
                run.begin, run.end = min(call.begin for call in seen), max(call.end for call in seen)

    def _begin_again(self) -> None:
        world = self.world
        for later in range(1, len(world.runs)):
            earlier = self.rng.randrange(later)
            if world.runs[earlier].end + 0.01 < world.runs[later].begin and self.names[earlier] == earlier:
                self.names[later] = earlier
                for call in world.calls:
                    if call.run == later:
                        call.run = earlier
                return

    # What is written

    def _write_marks(self) -> None:
        world, rng = self.world, self.rng
        first = self.proxies[0]
        writer = first if rng.random() < 0.4 and first.killed_at is None else None
        kind = rng.choice(("same host", "other host"))
        if self.style == "urls":
            return
        if writer is None or self.style == "imports":
            same = kind == "same host" or self.style == "imports" or first.here or self.far != 0
            clock = rng.uniform(-0.98, 0.98)
            writer = Process(
                name=f"{self.number}-m",
                host=first.host if same else f"desk-{self.number}",
                mode="metrics" if self.style == "imports" else "mark",
                offset=first.offset if same else clock,
                residual=first.residual if same else clock,
                begun_at=1000.0 - rng.uniform(3, 6),
                here=first.here,
            )
            self.processes.append(writer)
        for name, run in enumerate(world.runs):
            run.clock = writer.residual
            for edge, at in (("begin", run.begin), ("end", run.end)):
                fields = {
                    "framework": self.framework,
                    "run_id": str(self.names[name]),
                    "edge": edge,
                    "by": "metrics" if self.style == "imports" else "cli",
                    "marked_at": self._at(writer, at),
                }
                writer.lines.append((self.imported_at.get(name, at), "run", fields))

    def _write_calls(self) -> None:
        world, rng = self.world, self.rng
        for process in self.proxies + ([self.again] if self.again else []):
            wrong = self.late_id
            if process is self.proxies[0]:
                self._write_key(process, process.begun_at, 0, f"key_{self.number}_0" if wrong is None else wrong[0])
            if process.dated:
                self._write_get(process)
            if process.killed_at is None and rng.random() < 0.4:
                process.lines.append((world.end + rng.uniform(0.5, 30), "stop", {}))
        if self.late_id is not None:
            desk = Process(name=f"{self.number}-d", host=f"desk-{self.number}", mode="doctor", begun_at=self.late_id[1])
            self.processes.append(desk)
            self._write_key(desk, self.late_id[1] + 0.001, 0, f"key_{self.number}_0")
        known: set[int] = set()
        for call in sorted(world.calls, key=lambda call: call.begin):
            if call.standing == "hidden":
                continue
            process = self.by[id(call)]
            if call.key == 1 and process.copied_at < 0 and 1 not in known:
                known.add(1)
                self._write_key(process, call.begin, 1, f"key_{self.number}_1")
            self._write_call(process, call)

    def _write_key(self, process: Process, at: float, key: int, api_key_id: str | None) -> None:
        fields = {"key_fingerprint": f"fp-{self.number}-{key}", "framework": self.framework, "api_key_id": api_key_id}
        process.lines.append((at, "key", fields))

    def _write_get(self, process: Process) -> None:
        """A list of models, asked for when the proxy starts: it tells the provider's time and is billed by nobody."""
        at = self._at(process, process.begun_at)
        start = Start(
            call_id=new_call_id(at),
            started_at=at,
            framework=self.framework,
            key_fingerprint=f"fp-{self.number}-0",
            api_key_id=None,
            run_id=None,
            step=None,
            label_source=None,
            method="GET",
            path="/v1/models",
            endpoint="models",
            usage_endpoint=None,
            operation=Operation.READ,
            retry_count=None,
            organization=None,
            project=None,
            upstream="https://api.openai.com",
        )
        result = Result(
            outcome=Outcome.NO_USAGE,
            ended_at=at + 1000,
            first_byte_at=at,
            server_date=self._date(process.begun_at),
            status_code=200,
        )
        process.lines.append((process.begun_at + 0.001, "settle", settle_line(start, result)))

    def _write_call(self, process: Process, call: Call) -> None:
        started = self._at(process, call.begin)
        run = call.run if self.style != "imports" else None
        key_id = f"key_{self.number}_{call.key}"
        if self.late_id is not None and call.key == 0:
            key_id = self.late_id[0] or ""
        start = Start(
            call_id=new_call_id(started),
            started_at=started,
            framework=self.framework,
            key_fingerprint=f"fp-{self.number}-{call.key}",
            api_key_id=key_id or None,
            run_id=None if run is None else str(run),
            step=None if run is None else "1",
            label_source=None if run is None else LabelSource.URL,
            method="POST",
            path="/v1/chat/completions",
            endpoint=_endpoint(call),
            usage_endpoint=None if call.any_model and id(call) not in self.lost else call.usage_endpoint,
            operation=Operation.CREATE,
            retry_count=None,
            organization=None,
            project=None,
            upstream="https://api.openai.com",
        )
        process.lines.append((call.begin, "start", start_line(start)))
        if id(call) in self.lost:
            return
        background = call.told >= 0
        ended = call.begin + 0.001 if background else call.end
        told = call.standing in ("counted", "optional") and not background
        unbilled, unknown = call.standing == "unbilled", call.standing == "unknown"
        flags = [
            name
            for name, so in {
                "background": background,
                "hosted_tool": call.extra > 0,
                "optional": call.optional,
                "warm_up": call.optional,
                "unknown_endpoint": call.any_model and unknown,
            }.items()
            if so
        ]
        result = Result(
            outcome=Outcome.REFUSED if unbilled else Outcome.ABORTED if unknown else Outcome.METERED,
            ended_at=self._at(process, ended),
            first_byte_at=self._at(process, call.begin),
            completed_at=None if background or unknown or call.end_clock == call.clock else self._true(call.end),
            server_date=self._date(call.begin) if process.dated else None,
            status_code=400 if unbilled else 200,
            request_model=(call.shown_model or call.model) if unknown else ASKED.get(call.model, call.model),
            response_model=None if unknown or unbilled or background else call.model,
            usage_counts=self._usage(call) if told else Usage(),
        )
        line = settle_line(start, result)
        if call.any_model and unknown:
            line.pop("request_model", None)
        process.lines.append((max(ended, call.begin), "settle", {**line, "flags": flags} if flags else line))
        if background and call.standing == "counted" and call.told < call.end + 60 * DAY:
            usage = {k: v for k, v in _counts(self._usage(call)).items() if v is not None}
            read = {
                "call_id": start.call_id,
                "source": "read",
                "response_status": "completed",
                "response_model": call.model,
                "completed_at": self._true(call.end),
                **usage,
            }
            reader = self.again if self.again and process.killed_at and call.told >= process.killed_at else process
            reader.lines.append((call.told, "read", read))

    def write_gap(self, first: int, last: int) -> None:
        """A journal of a proxy whose clock is right lost lines in these minutes."""
        full = Process(name=f"{self.number}-g", host=f"full-{self.number}", mode="proxy", begun_at=first - 1.0)
        at = {"from": self._at(full, first), "to": self._at(full, last)}
        full.lines.append((last + 0.01, "gap", {**at, "calls": 1, "lines": 1}))
        self.processes.append(full)

    def _usage(self, call: Call) -> Usage:
        given, cached, written, images = call.tokens
        if call.usage_endpoint == "images":
            return Usage(images=images)
        if call.usage_endpoint == "embeddings":
            return Usage(input_tokens=given)
        return Usage(input_tokens=given, cached_input_tokens=None if call.silent else cached, output_tokens=written)

    def _true(self, minute: float) -> int:
        return us(minute + BASE + self.later)

    def _at(self, process: Process, minute: float) -> int:
        return self._true(minute + process.offset)

    def _date(self, minute: float) -> int:
        at = self._true(minute)
        return at - at % 1_000_000

    # When it is written

    def write(self, now: float) -> None:
        """Everything that stands in the journals at a moment of this world, appended."""
        for process in self.processes:
            process.write(self.folder, now, pid=NO_PROCESS + self.number, at_us=self._at)

    def close(self) -> None:
        for process in self.processes:
            process.let_go()


def _endpoint(call: Call) -> str:
    if call.loose and call.told < 0 and not call.extra:
        return "realtime"
    return {"embeddings": "embeddings", "images": "images/generations"}.get(call.usage_endpoint, "chat/completions")


def _counts(usage: Usage) -> dict[str, int | None]:
    return {
        "input_tokens": usage.input_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
        "images": usage.images,
    }
