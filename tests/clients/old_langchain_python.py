"""langchain-openai of the years before 1.0: an answer and a stream, pointed by OPENAI_API_BASE."""

import json

from langchain_openai import ChatOpenAI

model = ChatOpenAI(model="gpt-4o-mini")
assert model.openai_api_base is not None
told = model.invoke("Say hello.").usage_metadata["total_tokens"]
assert "".join(chunk.content for chunk in model.stream("Say hello again."))
print(json.dumps({"told": told}))
