"""The openai-agents SDK: tools, a handoff and streams, with the Responses model and the chat model, tracing on.

Its traces go to a fixed host, whatever the base URL; here they are told the base URL's.
"""

import asyncio
import json
import os

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    Runner,
    flush_traces,
    function_tool,
    set_trace_processors,
)
from agents.tracing.processors import BackendSpanExporter, BatchTraceProcessor
from openai import AsyncOpenAI

exporter = BackendSpanExporter(endpoint=os.environ["OPENAI_BASE_URL"] + "/traces/ingest")
set_trace_processors([BatchTraceProcessor(exporter)])


@function_tool
def read_meter(room: str, day: int) -> str:
    """What a room used on a day."""
    return f"{room} used {day}"


async def main() -> None:
    told = 0
    chat = OpenAIChatCompletionsModel("gpt-4o-mini", AsyncOpenAI())
    for model in ("gpt-5-mini", chat):
        reader = Agent(
            name="reader",
            instructions="Read the meter.",
            model=model,
            tools=[read_meter],
            model_settings=ModelSettings(tool_choice="required"),
        )
        desk = Agent(
            name="desk",
            instructions="Hand over.",
            model=model,
            handoffs=[reader],
            model_settings=ModelSettings(tool_choice="transfer_to_reader"),
        )
        result = await Runner.run(desk, "What did the kitchen use?")
        assert result.last_agent is reader, result.last_agent
        told += sum(answer.usage.total_tokens for answer in result.raw_responses)
        streamed = Runner.run_streamed(reader, "And the garden?")
        async for _ in streamed.stream_events():
            pass
        told += sum(answer.usage.total_tokens for answer in streamed.raw_responses)
    flush_traces()
    print(json.dumps({"told": told}))


asyncio.run(main())
