"""pydantic-ai: a tool, a structured output and a stream, with the chat model and the Responses model."""

import asyncio
import json

from pydantic import BaseModel
from pydantic_ai import Agent


class Meter(BaseModel):
    room: str
    days: list[int]


async def main() -> None:
    told = 0
    for model in ("openai-chat:gpt-4o-mini", "openai-responses:gpt-5-mini"):
        agent = Agent(model, output_type=Meter, instructions="Read the meter.")

        @agent.tool_plain
        def rooms(floor: int) -> list[str]:
            """The rooms of a floor."""
            return ["kitchen", "garden"]

        result = await agent.run("What did the kitchen use?")
        assert isinstance(result.output, Meter)
        told += result.usage.total_tokens
        plain = Agent(model)
        async with plain.run_stream("Say hello.") as streamed:
            await streamed.get_output()
        told += streamed.usage.total_tokens
    print(json.dumps({"told": told}))


asyncio.run(main())
