"""The newest openai SDK, told to refuse every answer that its own types do not allow. Prints what it refused."""

import io
import json

import openai

client = openai.OpenAI(_strict_response_validation=True, max_retries=0)
refused = []
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}]}
TOOL = {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True}
CUSTOM = {"type": "custom", "name": "g"}


def tried(name, ask):
    try:
        made = ask()
        if isinstance(made, openai.Stream):
            made = list(made)
        return made
    except Exception as problem:
        refused.append(f"{name}: {type(problem).__name__}: {str(problem)[:600]}")
        return None


def chat(name, **more):
    return tried(name, lambda: client.chat.completions.create(**{**CHAT, **more}))


def response(name, **more):
    return tried(name, lambda: client.responses.create(**{"model": "gpt-5", "input": "hello", **more}))


wrapped = {"type": "function", "function": {key: value for key, value in TOOL.items() if key != "type"}}
stored = chat("chat", store=True, logprobs=True, top_logprobs=2, n=2)
chat("chat stream", stream=True, stream_options={"include_usage": True}, logprobs=True)
chat("chat tools", tools=[wrapped, {"type": "custom", "custom": {"name": "g"}}], tool_choice="required")
chat("chat tools stream", tools=[wrapped], tool_choice="required", stream=True)
chat("chat functions", functions=[{"name": "f", "parameters": SCHEMA}], function_call={"name": "f"})
tried("chat stored", lambda: client.chat.completions.retrieve(stored.id))
tried("chat list", lambda: client.chat.completions.list())
tried("chat delete", lambda: client.chat.completions.delete(stored.id))
first = response("response", include=["message.output_text.logprobs"], reasoning={"effort": "low"})
response("response stream", stream=True)
response("response tools", tools=[TOOL, CUSTOM], tool_choice="required")
response("response tools stream", tools=[TOOL, CUSTOM], tool_choice="required", stream=True)
response("response search", tools=[{"type": "web_search"}], stream=True)
response("response format", text={"format": {"type": "json_schema", "name": "o", "schema": SCHEMA, "strict": True}})
response("response background", background=True)
response("response cut", max_output_tokens=16, stream=True)
tried("response items", lambda: client.responses.input_items.list(first.id))
tried("response retrieve", lambda: client.responses.retrieve(first.id))
tried("response tokens", lambda: client.responses.input_tokens.count(model="gpt-5", input="hello"))
tried("response compact", lambda: client.responses.compact(model="gpt-5", input="hello"))
talk = tried("conversation", lambda: client.conversations.create(items=[{"role": "user", "content": "hi"}]))
response("response in a conversation", conversation=talk.id)
tried("conversation items", lambda: client.conversations.items.list(talk.id))
tried("conversation add", lambda: client.conversations.items.create(talk.id, items=[{"role": "user", "content": "x"}]))
tried("conversation update", lambda: client.conversations.update(talk.id, metadata={"a": "b"}))
tried("conversation delete", lambda: client.conversations.delete(talk.id))
tried("completion", lambda: client.completions.create(model="davinci-002", prompt="x", logprobs=2))
tried(
    "embedding", lambda: client.embeddings.create(model="text-embedding-3-small", input=["a"], encoding_format="float")
)
tried("moderation", lambda: client.moderations.create(input="x"))
tried("image", lambda: client.images.generate(model="gpt-image-1", prompt="x"))
tried("speech", lambda: client.audio.speech.create(model="tts-1", voice="nova", input="x").read())
tried("models", lambda: client.models.list())
tried("model", lambda: client.models.retrieve("gpt-5"))
lines = "\n".join(
    json.dumps({"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions", "body": CHAT}) for n in range(2)
)
file = tried("file", lambda: client.files.create(file=("in.jsonl", io.BytesIO(lines.encode())), purpose="batch"))
tried("files", lambda: client.files.list())
tried("file content", lambda: client.files.content(file.id).read())
batch = tried(
    "batch",
    lambda: client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"a": "b"}
    ),
)
tried("batches", lambda: client.batches.list())
tried("batch cancel", lambda: client.batches.cancel(batch.id))
store = tried("vector store", lambda: client.vector_stores.create(name="s"))
tried("vector store file", lambda: client.vector_stores.files.create(store.id, file_id=file.id))
tried("vector store files", lambda: client.vector_stores.files.list(store.id))
tried("vector store batch", lambda: client.vector_stores.file_batches.create(store.id, file_ids=[file.id]))
tried("vector store search", lambda: client.vector_stores.search(store.id, query="hello"))
tried("vector store get", lambda: client.vector_stores.retrieve(store.id))
tried("vector store delete", lambda: client.vector_stores.delete(store.id))
tried("file delete", lambda: client.files.delete(file.id))
tried("secret", lambda: client.realtime.client_secrets.create(session={"type": "realtime", "model": "gpt-realtime"}))
print(json.dumps(refused))
