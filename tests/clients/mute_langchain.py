"""Run by the tests in an environment of its own: langchain-openai, which asks for no usage under a custom base URL."""

import json

from langchain_openai import ChatOpenAI

model = ChatOpenAI(model="gpt-4o-mini")
seen = []
for number in range(3):
    chunks = list(model.stream(f"Count to {number}."))
    told = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    seen.append({"kind": "langchain", "id": next(chunk.id for chunk in chunks), "told": told})
print(json.dumps(seen))
