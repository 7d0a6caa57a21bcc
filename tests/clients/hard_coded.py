"""Calls to a hard-coded https://api.openai.com, by the client library that is named; prints what each answer said."""

import json
import os
import sys

URL = "https://api.openai.com/v1"
HEADERS = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "Content-Type": "application/json"}
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]}


def by_urllib(path, body):
    import urllib.request

    request = urllib.request.Request(URL + path, json.dumps(body).encode(), HEADERS)
    return urllib.request.urlopen(request).read()


def by_requests(path, body):
    import requests

    return requests.post(URL + path, json=body, headers=HEADERS).content


def by_httpx(path, body):
    import httpx

    return httpx.post(URL + path, json=body, headers=HEADERS).content


def by_openai(path, body):
    from openai import OpenAI

    client = OpenAI(base_url=URL)
    if path == "/responses":
        return client.responses.create(**body).model_dump_json(warnings=False).encode()
    return client.chat.completions.create(**body).model_dump_json(warnings=False).encode()


post = globals()["by_" + sys.argv[1]]
seen = [json.loads(post("/chat/completions", CHAT)) for _ in range(2)]
seen.append(json.loads(post("/responses", {"model": "gpt-4o-mini", "input": "Say hello."})))
print(json.dumps([[answer["id"], answer["usage"]["total_tokens"]] for answer in seen]))
