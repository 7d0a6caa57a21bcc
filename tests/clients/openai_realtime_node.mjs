// Run by the tests with the newest openai package: a Realtime session, which this SDK opens over wss and nothing else.
// OPENAI_BASE_URL, OPENAI_API_KEY and NODE_EXTRA_CA_CERTS tell it where to go and whom to trust.
import OpenAI from "openai";
import { OpenAIRealtimeWS } from "openai/realtime/ws";

const session = await OpenAIRealtimeWS.create(new OpenAI(), { model: "gpt-realtime" });
const seen = [];
session.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
session.on("session.created", () => session.send({ type: "response.create" }));
session.on("response.done", ({ response }) => {
  seen.push({ kind: "realtime", id: response.id, usage: response.usage });
  if (seen.length < 3) {
    session.send({ type: "response.create" });
  } else {
    session.close();
    console.log(JSON.stringify(seen));
  }
});
