"""Run by the tests in an environment of its own, with the newest openai SDK: opens sockets, prints what the SDK saw.

Only OPENAI_BASE_URL and OPENAI_API_KEY tell it where to go. One JSON array on standard output: an object for each
response, with its id and the usage it returned.
"""

import asyncio
import json

import openai

seen = []


def saw(kind, response):
    told = None if response.usage is None else response.usage.model_dump(mode="json", exclude_unset=True)
    seen.append({"kind": kind, "id": response.id, "usage": told})


def responses_socket():
    with openai.OpenAI().responses.connect() as connection:
        for number in range(3):
            connection.response.create(model="gpt-5", input=f"Count to {number}.")
            for event in connection:
                if event.type == "response.completed":
                    saw("responses", event.response)
                    break


async def realtime_socket():
    async with openai.AsyncOpenAI().realtime.connect(model="gpt-realtime") as connection:
        for _ in range(2):
            await connection.response.create()
            async for event in connection:
                if event.type == "response.done":
                    saw("realtime", event.response)
                    break


responses_socket()
asyncio.run(realtime_socket())
print(json.dumps(seen))
