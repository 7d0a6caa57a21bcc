// The Vercel AI SDK: text, a stream, an object and a tool, over Responses and over chat.
import { openai } from "@ai-sdk/openai";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

let told = 0;
const schema = z.object({ room: z.string(), days: z.array(z.number()) });
const readMeter = tool({
  description: "What a room used.",
  inputSchema: z.object({ room: z.string() }),
  execute: async ({ room }) => `${room} used nine`,
});
for (const model of [openai("gpt-5-mini"), openai.chat("gpt-4o-mini")]) {
  const text = await generateText({ model, prompt: "Say hello." });
  told += text.totalUsage.totalTokens;
  const stream = streamText({ model, prompt: "Say hello again." });
  await stream.consumeStream();
  told += (await stream.totalUsage).totalTokens;
  const object = await generateText({ model, prompt: "Read the meter.", output: Output.object({ schema }) });
  schema.parse(object.output);
  told += object.totalUsage.totalTokens;
  const agent = await generateText({
    model,
    prompt: "What did the kitchen use?",
    tools: { readMeter },
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber ? "auto" : "required" }),
    stopWhen: stepCountIs(5),
  });
  told += agent.totalUsage.totalTokens;
}
console.log(JSON.stringify({ told }));
