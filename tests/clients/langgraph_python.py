"""LangGraph over langchain-openai: a graph of an agent and its tools, a structured output, streams that tell usage."""

import json
from typing import Annotated

from langchain_core.messages import AnyMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode, tools_condition
from pydantic import BaseModel
from typing_extensions import TypedDict


class Meter(BaseModel):
    room: str
    days: list[int]


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


@tool
def read_meter(room: str) -> str:
    """What a room used."""
    return f"{room} used nine"


told = 0
for model in (
    ChatOpenAI(model="gpt-4o-mini", stream_usage=True),
    ChatOpenAI(model="gpt-5-mini", use_responses_api=True),
):
    forced, free = model.bind_tools([read_meter], tool_choice="required"), model.bind_tools([read_meter])
    graph = StateGraph(State)

    def agent(state, forced=forced, free=free):
        return {"messages": [(free if len(state["messages"]) > 1 else forced).invoke(state["messages"])]}

    graph.add_node("agent", agent)
    graph.add_node("tools", ToolNode([read_meter]))
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", tools_condition)
    graph.add_edge("tools", "agent")
    done = graph.compile().invoke({"messages": [("user", "What did the kitchen use?")]})
    metered = [message.usage_metadata for message in done["messages"] if getattr(message, "usage_metadata", None)]
    assert len(metered) == 2
    told += sum(usage["total_tokens"] for usage in metered)
    structured = model.with_structured_output(Meter, include_raw=True).invoke("Read the meter.")
    assert isinstance(structured["parsed"], Meter), structured
    told += structured["raw"].usage_metadata["total_tokens"]
    whole = None
    for chunk in model.stream("Say hello."):
        whole = chunk if whole is None else whole + chunk
    told += whole.usage_metadata["total_tokens"]
embedded = OpenAIEmbeddings(model="text-embedding-3-small", check_embedding_ctx_length=False).embed_query("hello")
assert len(embedded) == 1536
print(json.dumps({"told": told}))
