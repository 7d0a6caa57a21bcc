"""Run by the tests in an environment of its own: streams that do not ask for their usage, through the openai SDK."""

import json

import openai

MESSAGES = [{"role": "user", "content": "Write a haiku about meters and books."}]
client = openai.OpenAI()
seen = []


def saw(kind, chunks):
    # What the application sees: no chunk without choices, which old ones index, and no usage.
    assert all(chunk.choices for chunk in chunks), kind
    told = [chunk.usage for chunk in chunks if "usage" in chunk.model_fields_set]
    seen.append({"kind": kind, "id": chunks[-1].id, "told": told})


saw("chat", list(client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, stream=True, n=2)))
saw(
    "chat_refusing_usage",
    list(
        client.chat.completions.create(
            model="gpt-4o-mini", messages=MESSAGES, stream=True, stream_options={"include_usage": False}
        )
    ),
)
saw("completion", list(client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Once upon", stream=True)))
print(json.dumps(seen))
