"""Seeded worlds that know the truth: who called, what was billed and when, what the meter saw and what it missed.

A world is a chain of runs (or a few of them) on one or two keys, like those of our users: equal tokens, few values,
sums that coincide; runs minutes apart; a provider that bills late and shows its bill later still. Each model has errors
of one sign at most: work that went past the meter, or calls that nobody billed. Time is in minutes by the provider's
clock. Nothing here judges, nothing here is told what a judge found, and nothing here is the audit's code.
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Collection, Iterator

from referee_calls import (
    ASKED,
    BEGIN,
    DAY,
    EMBEDDING,
    IMAGE,
    MODELS,
    NEVER_COUNTED,
    NEW_NAME,
    SETTLE,
    SPEECH,
    Asked,
    Bounds,
    Call,
    K,
    Piece,
    Run,
    Shown,
    Tokens,
)

TROUBLES = (
    ("none", 20),
    ("hide one", 12),
    ("hide a burst", 6),
    ("hide in every run", 8),
    ("one unbilled", 10),
    ("unknown", 12),
    ("one sign a model", 18),
    ("stranger", 3),
    ("swapped", 3),
    ("provider hours late", 2),
    ("flap", 4),
    ("renamed", 3),
    ("looks renamed", 5),
)


class World:
    """One seed's world."""

    def __init__(self, seed: int, bounds: Bounds | None = None) -> None:
        self.seed = seed
        self.rng = rng = random.Random(seed)
        self.bounds = bounds or Bounds()
        self.trouble = rng.choices([name for name, _ in TROUBLES], [weight for _, weight in TROUBLES])[0]
        self.shift = K if rng.random() < 0.8 else rng.choice((1, 2, 3))
        self.tokens_kind = rng.choice(("different", "equal", "three", "sums", "tiny"))
        self.late_kind = "uniform" if rng.random() < 0.25 else "mostly at once"
        self.lag = rng.choice((0.0, 5.0, 20.0, float(self.bounds.lag)))
        self.rate = rng.choice((1, 1, 2, 2, 3, 5, 10, 30, 60) if rng.random() < 0.3 else (1, 2, 3))
        self.gap = rng.choice((0.0, 0.3, 1, 2, 3, 4, 5, 6, 7, 8, 10)) * rng.uniform(0.9, 1.0)
        self.keys = 2 if rng.random() < 0.12 else 1
        """Two: the key was rotated, and later calls use the new one."""
        self.clocks = [rng.uniform(-1, 1) * self.bounds.skew if rng.random() < 0.6 else 0.0 for _ in range(2)]
        self.models = MODELS[: rng.choice((1, 1, 1, 2, 2, 3))]
        self.optional_billed = rng.random() < 0.5
        self.optional_known = rng.random() < 0.5
        self.grouped = rng.random() < 0.3
        """Whether the book is asked for with alike calls summed."""
        self.calls: list[Call] = []
        self.runs: list[Run] = []
        self._told: dict[tuple[int, str], list[tuple[float, int, str, bool, Tokens]]] = {}
        self._shown: dict[tuple[int, str, int, bool], Shown] = {}
        self.gap_rows: list[tuple[int, int]] = []
        self.period: tuple[int, int] | None = None
        self._make_runs()
        self._spread_kinds()
        self._make_trouble()
        self._bill_all()
        self.end = max([run.end for run in self.runs] + [call.end for call in self.calls])
        self._late_provider()
        self._plan_reads()

    # What is called

    def _make_runs(self) -> None:
        rng = self.rng
        size = rng.random()
        number = rng.choice((1, 2, 2, 3)) if size < 0.9 else rng.choice((4, 5, 6, 8, 10)) if size < 0.99 else 20
        most = rng.choice((2, 3, 4, 4, 8)) if number <= 4 else 2
        if self.rate >= 10:
            number, most = min(number, 4), rng.choice((6, 12, 25))
        now = BEGIN + rng.random()
        for name in range(number):
            begin = now
            for _ in range(rng.randint(0 if rng.random() < 0.15 else 1, most)):
                now += rng.expovariate(self.rate)
                call = self._call(now, name)
                self.calls.append(call)
                if rng.random() < 0.7:
                    now = call.end
            last = max([now, *(call.end for call in self.calls if call.run == name)])
            if rng.random() < 0.05 and any(call.run == name for call in self.calls):
                last = now  # the command ended before its last call did
            end = last + rng.choice((0.001, 0.1, 0.6))
            self.runs.append(
                Run(
                    begin=begin,
                    end=end,
                    clock=rng.uniform(-1, 1) * self.bounds.skew if rng.random() < 0.4 else self.clocks[0],
                    skew_known=rng.random() < 0.9,
                )
            )
            if rng.random() < 0.08:
                now = rng.uniform(begin, end)  # the next run begins while this one goes on
            else:
                now = end + (self.gap if rng.random() < 0.8 else rng.uniform(0, 10))
            if rng.random() < 0.06:
                self.calls.append(self._call(now, None))

    def _tokens(self) -> Tokens:
        rng = self.rng
        match self.tokens_kind:
            case "different":
                given = rng.randint(10, 5000)
                return given, rng.choice((0, rng.randint(0, given))), rng.randint(1, 900), 0
            case "equal":
                return 500, 0, 50, 0
            case "three":
                number = rng.choice((1, 2, 3))
                return 100 * number, 0, 10 * number, 0
            case "tiny":
                given = rng.randint(1, 3)
                return given, rng.randint(0, min(1, given)), rng.randint(1, 2), 0
        number = rng.choice((1, 2, 3, 4, 5))
        return 100 * number, 50 * (number % 2), 10 * number, 0

    def _call(self, begin: float, run: int | None) -> Call:
        rng = self.rng
        lasts = rng.choice((0.01, 0.05, 0.3, 1.5)) if rng.random() < 0.95 else rng.uniform(2, 9)
        luck = rng.random()
        tokens, endpoint, model = self._tokens(), "completions", rng.choice(self.models)
        if luck < 0.04:
            endpoint, model, tokens = "embeddings", EMBEDDING, (tokens[0], 0, 0, 0)
        elif luck < 0.06:
            endpoint, model, tokens = "images", IMAGE, (0, 0, 0, rng.choice((1, 1, 2)))
        clock = rng.choice(self.clocks)
        return Call(
            key=0,
            begin=begin,
            end=begin + lasts,
            usage_endpoint=endpoint,
            model=model,
            tokens=tokens,
            run=run,
            clock=clock,
            end_clock=0.0 if rng.random() < 0.3 else clock,
        )

    def _spread_kinds(self) -> None:
        """Some calls become what is neither wrong nor plain."""
        rng = self.rng
        if self.keys == 2:
            rotated = rng.uniform(BEGIN, max(call.end for call in self.calls) if self.calls else BEGIN + 1)
            for call in self.calls:
                call.key = int(call.begin >= rotated)
        odd = rng.random() < 0.3
        optional = rng.random() < 0.08
        for call in self.calls:
            luck = rng.random()
            if call.usage_endpoint == "completions" and odd:
                if luck < 0.04:
                    call.standing, call.billed = "unbilled", 0.0
                elif luck < 0.08:
                    call.standing, call.usage_endpoint, call.model = "uncovered", "audio_transcriptions", SPEECH
                    call.billed = rng.choice((0.0, 1.0))
                elif luck < 0.14:
                    call.loose = True
                elif luck < 0.2:
                    call.loose = True
                    call.told = call.end + (rng.choice((1, 20, 80)) if rng.random() < 0.95 else 100 * DAY)
                elif luck < 0.24:
                    call.silent = True
                elif luck < 0.26:
                    call.standing, call.usage_endpoint, call.model = "uncovered", "fine_tuning", self.models[0]
                    call.billed = 0.0
                elif luck < 0.3:
                    call.batch, call.standing, call.run = True, "hidden", None
            if optional and call.usage_endpoint == "completions" and call.standing == "counted" and luck > 0.8:
                call.standing, call.optional, call.loose = "optional", True, False
                call.tokens = (call.tokens[0], 0, 0, 0)
                call.told, call.silent = -1.0, False
                call.billed = float(self.optional_billed)
        if rng.random() < 0.05 and len(self.runs) > 1:
            self._overlap_imports()
        if rng.random() < 0.06:
            first = int(rng.uniform(BEGIN - 5, self.runs[-1].end))
            self.period = (first, first + rng.randint(2, 30))
        if rng.random() < 0.03:
            first = int(rng.uniform(BEGIN - 5, self.runs[-1].end))
            self.gap_rows.append((first, first + rng.randint(0, 3)))

    def _overlap_imports(self) -> None:
        """Two runs whose imported marks overlap: nobody can say of which the calls in both are."""
        one = self.rng.randrange(len(self.runs) - 1)
        first, second = self.runs[one], self.runs[one + 1]
        second.begin = min(second.begin, first.end) - self.rng.uniform(0.2, 2)
        for call in self.calls:
            if call.run in (one, one + 1) and second.begin <= call.begin < first.end:
                call.labelled = False
                first.ambiguous += 1
                second.ambiguous += 1

    # What goes wrong

    @property
    def _plain(self) -> list[Call]:
        return [call for call in self.calls if call.standing == "counted" and call.told < 0 and call.billed == 1.0]

    def _hide(self, run: int | None, *, model: str | None = None) -> None:
        """A call of this run goes past the meter; half of them at its edges, half with an own call's tokens."""
        rng = self.rng
        begin, end = (self.runs[run].begin, self.runs[run].end) if run is not None else (BEGIN - 5, self.runs[-1].end)
        where = rng.random()
        lasts = min(end - begin, rng.choice((0.001, 0.05, 0.5)))
        at = begin if where < 0.25 else end - lasts if where < 0.5 else rng.uniform(begin, max(begin, end - lasts))
        own = [call for call in self._plain if call.run == run and call.usage_endpoint == "completions"]
        key = own[0].key if own else rng.randrange(self.keys)
        tokens = rng.choice(own).tokens if own and rng.random() < 0.5 else self._tokens()
        chosen = model or (rng.choice(own).model if own else rng.choice(self.models))
        self.calls.append(
            Call(
                key=key,
                begin=at,
                end=at + lasts,
                usage_endpoint="completions",
                model=chosen,
                tokens=tokens,
                run=run,
                standing="hidden",
            )
        )

    def _make_trouble(self) -> None:
        rng, plain = self.rng, self._plain
        if self.trouble not in ("none", "hide one", "hide a burst", "hide in every run", "unknown", "stranger"):
            for call in self.calls:
                if call.told > call.end + DAY:
                    call.billed = 0.0  # billed and never told it would be an excess, beside deficits of its model
        runs = list(range(len(self.runs)))
        inside = [call for call in plain if call.run is None or call.end <= self.runs[call.run].end]
        other = NEVER_COUNTED if rng.random() < 0.1 else None
        match self.trouble:
            case "hide one":
                if inside and rng.random() < 0.5:
                    rng.choice(inside).standing = "hidden"
                else:
                    self._hide(rng.choice(runs), model=other)
            case "hide a burst":
                run = rng.choice(runs)
                for _ in range(rng.randint(2, 5)):
                    self._hide(run)
            case "hide in every run":
                for run in runs:
                    own = [call for call in inside if call.run == run]
                    if own and rng.random() < 0.5:
                        rng.choice(own).standing = "hidden"
                    else:
                        self._hide(run)
            case "one unbilled":
                if plain:
                    rng.choice(plain).billed = 0.0
            case "unknown":
                self._lose(plain, other)
            case "one sign a model":
                self._one_sign(plain)
            case "stranger":
                self._hide(None, model=other)
            case "swapped":
                if len(self.models) > 1:
                    given = [call for call in plain if call.usage_endpoint == "completions"]
                    for call in rng.sample(given, min(1, len(given))):
                        call.bill_model = next(model for model in self.models if model != call.model)
            case "looks renamed":
                self._look_renamed(plain)
            case "renamed":
                for call in self.calls:
                    if call.model == self.models[0] and call.usage_endpoint == "completions":
                        call.model = "house-model"
                        call.bill_model = NEW_NAME
                        if call.standing == "counted" and rng.random() < 0.1:
                            call.standing, call.billed = "unknown", rng.choice((0.0, 1.0))
                            call.shown_model = "gpt-4"
                            call.model = NEVER_COUNTED
                            call.bill_model = None
                            call.told = -1.0

    def _look_renamed(self, plain: list[Call]) -> None:
        """Nobody bills the calls of one model, and as many tokens of another model go past the meter."""
        model = self.models[0]
        own = [call for call in self.calls if call.model == model]
        if len({call.tokens for call in own}) > 2 or any(call not in plain for call in own):
            return
        for call in own:
            call.billed = 0.0
            self._hide(call.run, model=NEVER_COUNTED)
            hidden = self.calls[-1]
            hidden.key, hidden.begin, hidden.end, hidden.tokens = call.key, call.begin, call.end, call.tokens

    def _lose(self, plain: list[Call], other: str | None) -> None:
        """Some calls end without their usage: aborted, billed or not, or in part; a few hosted tools read content."""
        rng = self.rng
        often = rng.choice((0.1, 0.3, 0.6))
        for call in plain:
            if call.usage_endpoint != "completions" or rng.random() > often:
                continue
            if rng.random() < 0.15:
                call.loose, call.extra = True, rng.choice((0, 17, call.tokens[0] + 1))
                continue
            call.standing = "unknown"
            call.billed = rng.choice((0.0, 1.0, 1.0, rng.uniform(0.2, 0.9)))
            call.model = other or call.model
            asked = ASKED.get(call.model, call.model)
            call.shown_model = rng.choice((asked, call.model))
            call.any_model = rng.random() < 0.08
        if rng.random() < 0.3:
            self._hide(rng.randrange(len(self.runs)))

    def _one_sign(self, plain: list[Call]) -> None:
        """Any number of errors in any runs; those of one model all have one sign."""
        rng = self.rng
        often = rng.choice((0.1, 0.3, 0.7))
        signs = {model: rng.choice("+-0") for model in (*self.models, EMBEDDING, IMAGE)}
        for call in plain:
            sign = signs[call.model] if self.bounds.one_sign else rng.choice("+-")
            if rng.random() > often:
                continue
            if sign == "+" and (call.run is None or call.end <= self.runs[call.run].end):
                call.standing = rng.choice(("hidden", "hidden", "unknown"))
                call.shown_model = ASKED.get(call.model, call.model)
            elif sign == "-":
                call.billed = 0.0
        for model in self.models:
            if signs[model] == "+" or not self.bounds.one_sign:
                for _ in range(rng.choice((0, 1, 1, 2))):
                    self._hide(rng.randrange(len(self.runs)), model=model)

    # What is billed

    def _bill_all(self) -> None:
        for call in self.calls:
            if call.billed:
                tokens = call.tokens
                if call.billed < 1:
                    tokens = (max(1, int(tokens[0] * call.billed)), 0, int(tokens[2] * call.billed), tokens[3])
                tokens = (tokens[0] + call.extra, *tokens[1:])
                call.pieces = [piece for piece in self._pieces(call, tokens) if any(piece.tokens)]

    def _pieces(self, call: Call, tokens: Tokens) -> Iterator[Piece]:
        rng = self.rng
        if call.loose and rng.random() < 0.7:
            given, cached, written, images = tokens
            taken = rng.randint(0, given)
            of_cached = rng.randint(max(0, cached - given + taken), min(cached, taken))
            first = (taken, of_cached, rng.randint(0, written), rng.randint(0, images))
            for part in (first, (given - taken, cached - of_cached, written - first[2], images - first[3])):
                minute = rng.randint(int(call.begin), int(call.end) + self._most)
                yield Piece(minute, self._seen_at(call, minute), part)
            return
        minute = self._minute(call)
        yield Piece(minute, self._seen_at(call, minute), tokens)

    @property
    def _most(self) -> int:
        """Minutes after its end in which a call may still be billed."""
        return self.bounds.shift if self.bounds.shift > K else self.shift

    def _minute(self, call: Call) -> int:
        rng, end = self.rng, int(call.end)
        if rng.random() < 0.04:
            return rng.randint(int(call.begin), end)
        if self.late_kind == "uniform":
            return end + rng.randint(0, self._most)
        luck = rng.random()
        return end + (0 if luck < 0.8 else min(1, self._most) if luck < 0.98 else rng.randint(0, self._most))

    def _seen_at(self, call: Call, minute: int) -> float:
        """Never later than an hour after the minute, unless the bounds are looser."""
        most = self.bounds.lag if self.rng.random() < 0.05 else self.lag
        return max(minute + self.rng.random() + self.rng.uniform(0, 1) * most, call.begin + 0.001)

    def _late_provider(self) -> None:
        """The provider shows everything of some minutes only hours later."""
        rng = self.rng
        if self.trouble == "provider hours late":
            begin = rng.uniform(BEGIN, self.end)
            hours = rng.choice((2, 5, 20))
            for call in self.calls:
                for piece in call.pieces:
                    if piece.minute >= begin:
                        piece.seen_at += hours * 60
        if self.trouble == "flap" and rng.random() < 0.7:
            self._hide(rng.randrange(len(self.runs)))
            self.calls[-1].pieces = list(self._pieces(self.calls[-1], self.calls[-1].tokens))

    # When the provider is asked

    def _plan_reads(self) -> None:
        """Moments of reading; at a few of them an audit judges. The last has all that it needs."""
        rng = self.rng
        every = rng.choice((31, 45, 60))
        now = BEGIN + rng.uniform(2, 40)
        self.reads_at: list[float] = []
        while now < self.end + 20:
            self.reads_at.append(now)
            now += every * rng.uniform(0.8, 1.3)
        later = self.end + rng.uniform(1, 50)
        self.reads_at.append(later)
        while later < self.end + self.shift + SETTLE + 4:
            later += rng.choice((10, 31, 45, 64))
            self.reads_at.append(later)
        if self.trouble in ("provider hours late", "flap"):
            for _ in range(8):
                later += rng.choice((35, 120, 300))
                self.reads_at.append(later)
            later += 25 * 60
            self.reads_at.append(later)
            later += 25 * 60
            self.reads_at.append(later)
        self.reads_at += [later + 31, later + 64]
        # One audit knows the chain up to some minute and no further.
        wrong = [call.end for call in self.calls if call.standing == "hidden" or call.deficit]
        known = (
            rng.choice(wrong) + rng.choice((0, 1, 2, 4))
            if wrong and rng.random() < 0.7
            else rng.uniform(BEGIN, self.end + self.shift + 2)
        )
        known += 1 + SETTLE
        self.reads_at += [known - rng.uniform(30.1, 33), known]
        if rng.random() < 0.1:
            self.reads_at += [later + 26 * 60, later + 26 * 60 + 40]
        self.reads_at.sort()
        number = len(self.reads_at)
        self.audits = {
            number - 1,
            self.reads_at.index(known),
            *rng.sample(range(number), min(number, rng.choice((0, 0, 0, 1)))),
        }
        if self.trouble in ("provider hours late", "flap"):
            self.audits |= set(rng.sample(range(number), min(number, 4)))
        self.flap: tuple[float, float, int, int] | None = None
        """From when until when the provider takes back what it showed, and of which minutes."""
        whole = self._plan_flap() if self.trouble == "flap" else None
        self.failing = rng.choice((0.0, 0.0, 0.0, 0.2))
        self.pages = rng.random() < 0.03
        """Whether the bill comes as pages of JSON through the strict reader."""
        self.asked = [
            [[self._asked(number, at, whole) for number, at in enumerate(self.reads_at)] for _ in range(3)]
            for _ in range(self.keys)
        ]

    def _plan_flap(self, *, asked: Collection[int] | None = None) -> int | None:
        """The read before the bill of some minutes is taken back; it showed them whole, as the next ones do not.

        `asked`: the reads that are made for certain; None: all. Nobody can know of what no read showed.
        """
        rng = self.rng
        hidden = [piece.minute for call in self.calls for piece in call.pieces if call.standing == "hidden"]
        if hidden and rng.random() < 0.8:
            first = hidden[0] - rng.randint(0, 2)
            last = hidden[0] + rng.randint(0, 2)
        else:
            first = int(rng.uniform(BEGIN - 2, self.end))
            last = first + rng.randint(1, 20)
        taken = [piece for call in self.calls for piece in call.pieces if first <= piece.minute <= last]
        whole_at = max([last + 1.0, *(piece.seen_at for piece in taken)])
        able = [
            number
            for number, at in enumerate(self.reads_at[:-4])
            if at >= whole_at and (asked is None or number in asked)
        ]
        if not able:
            return None
        number = rng.choice(able[:3])
        begin = self.reads_at[number] + 0.01
        self.audits |= {number + 1, number + 2, number + 3}
        self.flap = (begin, min(begin + rng.uniform(60, 900), self.reads_at[-3] - 0.01), first, last)
        return number

    def _asked(self, number: int, at: float, whole: int | None) -> Asked:
        rng = self.rng
        last = number >= len(self.reads_at) - 3 or number == whole
        first, end = int(BEGIN) - 10, int(at)
        if not last and rng.random() < 0.1:
            end = max(first + 1, end - rng.randint(1, 40))  # an answer that was cut off, and no more of it to be had
        problem = None
        if not last and rng.random() < self.failing:
            problem = rng.choice(("not_permitted", "unavailable", "not_json", "cursor_repeated"))
        return Asked(at=at, first=first, end=end, problem=problem)

    def shown(self, key: int, usage_endpoint: str, now: float) -> Shown:
        """The bill of one key as the provider shows it at some moment, by minute."""
        pieces = self._told.get((key, usage_endpoint))
        if pieces is None:
            pieces = self._told[key, usage_endpoint] = self._pieces_of(key, usage_endpoint)
        number = bisect.bisect_right(pieces, now, key=lambda piece: piece[0])
        taken = self.flap if self.flap is not None and self.flap[0] <= now < self.flap[1] else None
        state = (key, usage_endpoint, number, taken is not None)
        found = self._shown.get(state)
        if found is None:
            found = self._shown[state] = {}
            for _, minute, model, batch, tokens in pieces[:number]:
                if taken is None or not taken[2] <= minute <= taken[3]:
                    rows = found.setdefault(minute, {})
                    rows[model, batch] = _sum(rows.get((model, batch)), tokens)
        return found

    def _pieces_of(self, key: int, usage_endpoint: str) -> list[tuple[float, int, str, bool, Tokens]]:
        """Everything that is billed, by when it is shown."""
        found = []
        for call in self.calls:
            if call.key != key:
                continue
            for piece in call.pieces:
                if _billed_as(call.usage_endpoint) == usage_endpoint:
                    model = call.bill_model or call.model
                    found.append((piece.seen_at, piece.minute, model, call.batch, piece.tokens))
                elif (call.usage_endpoint, usage_endpoint, call.standing) == ("images", "completions", "counted"):
                    # Tokens of an image model stand among completions, too, in the minutes of its images.
                    found.append((piece.seen_at, piece.minute, IMAGE, False, (11, 0, 1000, 0)))
        return sorted(found)

    def _taken_back(self, minute: int, now: float) -> bool:
        assert self.flap is not None
        begin, end, first, last = self.flap
        return begin <= now < end and first <= minute <= last

    # What is true

    def own(self, run: int, key: int) -> list[Call]:
        return [call for call in self.calls if call.run == run and call.key == key]


def _billed_as(usage_endpoint: str) -> str:
    return "completions" if usage_endpoint in ("audio_transcriptions", "fine_tuning") else usage_endpoint


def _sum(one: Tokens | None, other: Tokens) -> Tokens:
    if one is None:
        return other
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3]
