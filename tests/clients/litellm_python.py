"""Run by the tests in an environment of its own, with the newest litellm: makes calls, prints what litellm told.

Only OPENAI_BASE_URL and OPENAI_API_KEY tell it where to go. One JSON array on standard output: an object for each
call, with the id of its answer and the tokens litellm gave its caller (null: none).
"""

import asyncio
import json

import litellm

MODEL = "openai/gpt-4o-mini"
MESSAGES = [{"role": "user", "content": "Write a haiku about meters and books."}]
ASKING = {"stream": True, "stream_options": {"include_usage": True}}
seen = []


def saw(kind, identity, usage):
    told = None if usage is None else [usage.prompt_tokens, usage.completion_tokens]
    seen.append({"kind": kind, "id": identity, "told": told})


def saw_stream(kind, chunks):
    usages = [chunk.usage for chunk in chunks if getattr(chunk, "usage", None) is not None]
    saw(kind, chunks[0].id, usages[-1] if usages else None)


def sync_calls():
    whole = litellm.completion(model=MODEL, messages=MESSAGES)
    saw("whole", whole.id, whole.usage)
    saw_stream("mute", list(litellm.completion(model=MODEL, messages=MESSAGES, stream=True)))
    saw_stream("mute_choices", list(litellm.completion(model=MODEL, messages=MESSAGES, stream=True, n=2)))
    saw_stream("asking", list(litellm.completion(model=MODEL, messages=MESSAGES, **ASKING)))
    embedding = litellm.embedding(model="openai/text-embedding-3-small", input=["one", "two"])
    saw("embedding", None, embedding.usage)


async def async_calls():
    async def one(number):
        whole = await litellm.acompletion(model=MODEL, messages=[{"role": "user", "content": f"Count to {number}."}])
        saw("async_whole", whole.id, whole.usage)

    await asyncio.gather(*(one(number) for number in range(6)))
    for kind, options in (("async_mute", {"stream": True}), ("async_asking", ASKING)):
        stream = await litellm.acompletion(model=MODEL, messages=MESSAGES, **options)
        saw_stream(kind, [chunk async for chunk in stream])


sync_calls()
asyncio.run(async_calls())
print(json.dumps(seen))
