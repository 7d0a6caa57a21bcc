"""Run by the tests in an environment of its own, with the newest openai SDK: makes calls, prints what the SDK saw.

Only OPENAI_BASE_URL and OPENAI_API_KEY tell it where to go. One JSON array on standard output: an object for each
call, with the SDK's own request id or response id and the usage it returned.
"""

import asyncio
import json

import openai

MESSAGES = [{"role": "user", "content": "Write a haiku about meters and books."}]
MODEL = "gpt-4o-mini"
seen = []


def saw(kind, thing, usage):
    told = None if usage is None else usage.model_dump(mode="json", exclude_unset=True)
    seen.append(
        {
            "kind": kind,
            "id": getattr(thing, "id", None),
            "request_id": getattr(thing, "_request_id", None),
            "usage": told,
        }
    )


def sync_calls():
    client = openai.OpenAI()
    saw("models", client.models.list(), None)
    completion = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    saw("chat", completion, completion.usage)
    last = None
    for chunk in client.chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    ):
        last = chunk if chunk.usage else last
    saw("chat_stream", last, last.usage)
    response = client.responses.create(model=MODEL, input="Say hello.")
    saw("response", response, response.usage)
    for event in client.responses.create(model=MODEL, input="Say hello.", stream=True):
        if event.type == "response.completed":
            saw("response_stream", event.response, event.response.usage)
    embedding = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"])
    saw("embedding", embedding, embedding.usage)
    saw("moderation", client.moderations.create(model="omni-moderation-latest", input="hello"), None)
    image = client.images.generate(model="gpt-image-1", prompt="a meter")
    saw("image", image, image.usage)
    transcription = client.audio.transcriptions.create(
        model="gpt-4o-transcribe", file=("a.wav", b"RIFF0000WAVE", "audio/wav"), response_format="json"
    )
    saw("transcription", transcription, transcription.usage)
    text = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Once upon")
    saw("completion", text, text.usage)
    again = client.responses.retrieve(response.id)
    saw("retrieve", again, again.usage)


async def async_calls():
    async with openai.AsyncOpenAI() as client:

        async def one(number):
            completion = await client.chat.completions.create(
                model=MODEL, messages=[{"role": "user", "content": f"Count to {number}."}]
            )
            saw("async_chat", completion, completion.usage)

        await asyncio.gather(*(one(number) for number in range(8)))
        last = None
        stream = await client.chat.completions.create(
            model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        async for chunk in stream:
            last = chunk if chunk.usage else last
        saw("async_chat_stream", last, last.usage)


sync_calls()
asyncio.run(async_calls())
print(json.dumps(seen))
