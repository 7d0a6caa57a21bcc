#!/bin/sh
# Calls to a hard-coded https://api.openai.com by curl; prints what each answer said, one JSON document after another.
post() {
    curl --silent --show-error --fail "https://api.openai.com/v1$1" \
        --header "Authorization: Bearer $OPENAI_API_KEY" --header "Content-Type: application/json" --data "$2"
    echo
}
chat='{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]}'
post /chat/completions "$chat"
post /chat/completions "$chat"
post /responses '{"model": "gpt-4o-mini", "input": "Say hello."}'
