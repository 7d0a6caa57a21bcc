// Run by the tests with the newest openai package: makes calls, prints what the SDK saw as one JSON array.
// Only OPENAI_BASE_URL and OPENAI_API_KEY tell it where to go.
import OpenAI from "openai";

const client = new OpenAI();
const model = "gpt-4o-mini";
const messages = [{ role: "user", content: "Write a haiku about meters and books." }];
const seen = [];
const saw = (kind, thing, usage) => seen.push({ kind, id: thing.id ?? null, request_id: thing._request_id ?? null, usage: usage ?? null });

const completion = await client.chat.completions.create({ model, messages });
saw("chat", completion, completion.usage);

let last;
for await (const chunk of await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } })) {
  if (chunk.usage) last = chunk;
}
saw("chat_stream", last, last.usage);

const response = await client.responses.create({ model, input: "Say hello." });
saw("response", response, response.usage);
for await (const event of await client.responses.create({ model, input: "Say hello.", stream: true })) {
  if (event.type === "response.completed") saw("response_stream", event.response, event.response.usage);
}

const embedding = await client.embeddings.create({ model: "text-embedding-3-small", input: ["one", "two"] });
saw("embedding", embedding, embedding.usage);

await Promise.all(
  Array.from({ length: 8 }, async (_, number) => {
    const one = await client.chat.completions.create({ model, messages: [{ role: "user", content: `Count to ${number}.` }] });
    saw("parallel_chat", one, one.usage);
  }),
);
const again = await client.responses.retrieve(response.id);
saw("retrieve", again, again.usage);
console.log(JSON.stringify(seen));
