"""crewAI: two agents, a task with a tool and a task with a structured output."""

import contextlib
import io
import json

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from pydantic import BaseModel


class Meter(BaseModel):
    room: str
    days: list[int]


@tool("read_meter")
def read_meter(room: str) -> str:
    """What a room used."""
    return f"{room} used nine"


with contextlib.redirect_stdout(io.StringIO()):
    # An LLM each: what a shared one used stands in the crew's sum once for every agent that has it.
    first, second = LLM(model="gpt-4o-mini"), LLM(model="gpt-4o-mini")
    reader = Agent(role="reader", goal="read meters", backstory="careful", llm=first, tools=[read_meter], max_iter=4)
    writer = Agent(role="writer", goal="write down", backstory="neat", llm=second, max_iter=4)
    crew = Crew(
        agents=[reader, writer],
        tasks=[
            Task(description="Read the kitchen's meter.", expected_output="a number", agent=reader),
            Task(description="Write it down.", expected_output="a record", agent=writer, output_pydantic=Meter),
        ],
    )
    result = crew.kickoff()
print(json.dumps({"told": result.token_usage.total_tokens}))
