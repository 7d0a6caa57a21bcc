"""A stream that asks for no usage and a Realtime socket, both at a hard-coded api.openai.com; prints what was seen."""

import json

from openai import OpenAI

client = OpenAI(base_url="https://api.openai.com/v1")
messages = [{"role": "user", "content": "Say hello."}]
chunks = list(client.chat.completions.create(model="gpt-4o-mini", messages=messages, stream=True))
with client.realtime.connect(model="gpt-realtime") as connection:
    connection.response.create()
    done = next(event for event in connection if event.type == "response.done")
told = [chunk.usage for chunk in chunks if chunk.usage is not None]
seen = {"told": len(told), "empty": sum(not chunk.choices for chunk in chunks)}
print(json.dumps({**seen, "realtime": done.response.usage.total_tokens}))
