"""AutoGen: a team of two, one with a tool, and a stream."""

import asyncio
import json

from autogen_agentchat.agents import AssistantAgent
from autogen_agentchat.conditions import MaxMessageTermination
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_core.models import UserMessage
from autogen_ext.models.openai import OpenAIChatCompletionClient


async def read_meter(room: str) -> str:
    """What a room used."""
    return f"{room} used nine"


async def main() -> None:
    client = OpenAIChatCompletionClient(model="gpt-4o-mini")
    reader = AssistantAgent("reader", model_client=client, tools=[read_meter], reflect_on_tool_use=True)
    critic = AssistantAgent("critic", model_client=client)
    team = RoundRobinGroupChat([reader, critic], termination_condition=MaxMessageTermination(5))
    await team.run(task="What did the kitchen use?")
    async for _ in client.create_stream(
        [UserMessage(content="Say hello.", source="user")],
        extra_create_args={"stream_options": {"include_usage": True}},
    ):
        pass
    used = client.total_usage()
    await client.close()
    print(json.dumps({"told": used.prompt_tokens + used.completion_tokens}))


asyncio.run(main())
