"""instructor: structured answers by tools and by JSON schema."""

import json

import instructor
import openai
from pydantic import BaseModel


class Meter(BaseModel):
    room: str
    days: list[int]


told = 0
for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
    client = instructor.from_openai(openai.OpenAI(), mode=mode)
    meter, completion = client.chat.completions.create_with_completion(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "Read the meter."}], response_model=Meter
    )
    assert isinstance(meter, Meter)
    told += completion.usage.total_tokens
print(json.dumps({"told": told}))
