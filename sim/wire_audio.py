"""Audio on the wire: transcription as JSON, words or events, translation, and speech as sound or events.

Billed by seconds heard or characters read out, whatever tokens the body tells; text formats and sound tell nothing.
"""

from __future__ import annotations

from .counts import Counts
from .frame import Answer, Frame, Json, Part, Refusal, Request, of_frames, of_json
from .models import Kind
from .state import State
from .talk import model_of
from .words import tokens


def transcribe(state: State, request: Request) -> Answer:
    """POST /v1/audio/transcriptions: tokens or seconds by model, nothing in text, srt and vtt."""
    model = model_of(request, Kind.TRANSCRIPTION)
    if "file" not in request.files:
        raise Refusal(400, "Missing required parameter: 'file'.", param="file", code="missing_required_parameter")
    shape = str(request.body.get("response_format") or "json")
    pieces = tokens(request.rng, request.rng.randint(min(3, state.settings.words_max), state.settings.words_max))
    text = "".join(pieces)
    seconds = max(1, len(request.files["file"].content) // 16_000) + request.rng.randint(0, 59)
    counts = Counts(seconds=seconds, requests=1)
    if model.reports_tokens:
        heard = seconds * 10 + request.rng.randint(0, 9)
        counts += Counts(input_audio=heard, input_text=request.rng.randint(0, 20), output_text=len(pieces))
    told = shape in ("json", "verbose_json", "diarized_json")
    entry = state.open_entry(
        request, model=model, usage_endpoint="audio_transcriptions", counts=counts, usage_told=told
    )
    usage: Json = {"type": "duration", "seconds": seconds}
    if model.reports_tokens and shape != "verbose_json":
        usage = {
            "type": "tokens",
            "input_tokens": counts.input_tokens,
            "input_token_details": {"text_tokens": counts.input_text, "audio_tokens": counts.input_audio},
            "output_tokens": counts.output_tokens,
            "total_tokens": counts.total_tokens,
        }
    if not told:
        return Answer(content_type="text/plain; charset=utf-8", body=(text + "\n").encode(), entry=entry.number)
    if request.streamed and model.reports_tokens:
        deltas = [_event("transcript.text.delta", {"delta": piece}) for piece in pieces]
        last = _event("transcript.text.done", {"text": text, "usage": usage}, Part.TERMINAL)
        return of_frames([*deltas, last], entry=entry.number)
    if shape == "verbose_json":
        heard_s = seconds - 0.51
        verbose = {"task": "transcribe", "language": "english", "duration": heard_s, "text": text, "segments": []}
        return of_json({**verbose, "usage": usage}, entry=entry.number)
    return of_json({"text": text, "usage": usage}, entry=entry.number)


def translate(state: State, request: Request) -> Answer:
    """POST /v1/audio/translations: billed by seconds; no format tells usage."""
    model = model_of(request, Kind.TRANSCRIPTION)
    counts = Counts(seconds=request.rng.randint(1, 60), requests=1)
    entry = state.open_entry(
        request, model=model, usage_endpoint="audio_transcriptions", counts=counts, usage_told=False
    )
    return of_json({"text": "".join(tokens(request.rng, 8))}, entry=entry.number)


def speak(state: State, request: Request) -> Answer:
    """POST /v1/audio/speech: sound, or events where asked for and the model can."""
    model = model_of(request, Kind.SPEECH)
    text = request.body.get("input")
    if not isinstance(text, str) or not text:
        raise Refusal(400, "Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    rng = request.rng
    events = request.body.get("stream_format") == "sse" and model.reports_tokens
    counts = Counts(characters=len(text), requests=1)
    if model.reports_tokens:
        counts += Counts(input_text=len(text) // 4 + rng.randint(1, 9), output_audio=len(text) + rng.randint(5, 97))
    entry = state.open_entry(request, model=model, usage_endpoint="audio_speeches", counts=counts, usage_told=events)
    if not events:
        sound = b"ID3\x04\x00" + rng.randbytes(2048)
        return Answer(content_type="audio/mpeg", body=sound, entry=entry.number)
    usage = {
        "input_tokens": counts.input_tokens,
        "output_tokens": counts.output_tokens,
        "total_tokens": counts.total_tokens,
    }
    deltas = [_event("speech.audio.delta", {"audio": "c291bmQ="}) for _ in range(4)]
    return of_frames([*deltas, _event("speech.audio.done", {"usage": usage}, Part.TERMINAL)], entry=entry.number)


def _event(name: str, payload: Json, part: Part = Part.CONTENT) -> Frame:
    # Recorded and documented streams of these two have `data:` lines alone, without `event:`.
    return Frame(part=part, payload={"type": name, **payload})
