"""LlamaIndex: an answer, a stream, a structured one, a tool, embeddings. It reads OPENAI_API_BASE alone."""

import asyncio
import json

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI, OpenAIResponses
from pydantic import BaseModel


class Meter(BaseModel):
    room: str
    days: list[int]


def read_meter(room: str) -> str:
    """What a room used."""
    return f"{room} used nine"


async def main() -> None:
    asked = [ChatMessage(role="user", content="Read the meter.")]
    for llm in (OpenAI(model="gpt-4o-mini"), OpenAIResponses(model="gpt-4o-mini")):
        assert llm.chat(asked).message.content
        assert "".join(part.delta or "" for part in llm.stream_chat(asked))
        assert isinstance(llm.as_structured_llm(Meter).complete("Read the meter.").raw, Meter)
        agent = FunctionAgent(tools=[read_meter], llm=llm, system_prompt="Read meters.")
        await agent.run("What did the kitchen use?")
    assert len(OpenAIEmbedding(model="text-embedding-3-small").get_text_embedding("hello")) == 1536
    print(json.dumps({"told": None}))


asyncio.run(main())
