"""The openai SDK's own structured outputs: `.parse` of chat and Responses, whole and streamed, and a parsed tool."""

import json
from enum import Enum

import openai
from pydantic import BaseModel, Field


class Unit(Enum):
    KWH = "kWh"
    M3 = "m3"


class Meter(BaseModel):
    room: str
    unit: Unit
    days: list[int] = Field(min_length=1)
    below: "Meter | None"


client = openai.OpenAI()
MODEL = "gpt-4o-mini"
MESSAGES = [{"role": "user", "content": "Read the meter."}]
told = 0
completion = client.chat.completions.parse(model=MODEL, messages=MESSAGES, response_format=Meter)
assert isinstance(completion.choices[0].message.parsed, Meter)
told += completion.usage.total_tokens
completion = client.chat.completions.parse(
    model=MODEL, messages=MESSAGES, tools=[openai.pydantic_function_tool(Meter)], tool_choice="required"
)
assert isinstance(completion.choices[0].message.tool_calls[0].function.parsed_arguments, Meter)
told += completion.usage.total_tokens
with client.chat.completions.stream(
    model=MODEL, messages=MESSAGES, response_format=Meter, stream_options={"include_usage": True}
) as stream:
    completion = stream.get_final_completion()
assert isinstance(completion.choices[0].message.parsed, Meter)
told += completion.usage.total_tokens
response = client.responses.parse(model="gpt-5", input="Read the meter.", text_format=Meter)
assert isinstance(response.output_parsed, Meter)
told += response.usage.total_tokens
with client.responses.stream(
    model="gpt-5", input="Read it again.", text_format=Meter, previous_response_id=response.id
) as stream:
    response = stream.get_final_response()
assert isinstance(response.output_parsed, Meter)
told += response.usage.total_tokens
print(json.dumps({"told": told}))
