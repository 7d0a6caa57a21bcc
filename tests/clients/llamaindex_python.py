"""LlamaIndex: an answer, a stream, a structured one, a tool, embeddings. It reads OPENAI_API_BASE alone."""

import asyncio
import json
import os

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
    told_where = os.environ.pop("OPENAI_API_BASE")
    os.environ["OPENAI_BASE_URL"] = told_where
    assert OpenAI(model="gpt-4o-mini").api_base == "https://api.openai.com/v1", "it reads OPENAI_BASE_URL now"
    os.environ["OPENAI_API_BASE"] = told_where
    del os.environ["OPENAI_BASE_URL"]
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
