// Run by the tests with the newest openai package: streams that do not ask for their usage.
import OpenAI from "openai";

const client = new OpenAI();
const messages = [{ role: "user", content: "Write a haiku about meters and books." }];
const seen = [];
const saw = async (kind, stream) => {
  const told = [];
  let last;
  for await (const chunk of stream) {
    if (!chunk.choices.length) throw new Error(`${kind}: a chunk without choices`);
    if ("usage" in chunk) told.push(chunk.usage);
    last = chunk;
  }
  seen.push({ kind, id: last.id, told });
};

await saw("chat", await client.chat.completions.create({ model: "gpt-4o-mini", messages, stream: true, n: 2 }));
await saw(
  "chat_refusing_usage",
  await client.chat.completions.create({ model: "gpt-4o-mini", messages, stream: true, stream_options: { include_usage: false } }),
);
await saw("completion", await client.completions.create({ model: "gpt-3.5-turbo-instruct", prompt: "Once upon", stream: true }));
console.log(JSON.stringify(seen));
