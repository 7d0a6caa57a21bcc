// Calls to a hard-coded https://api.openai.com by node's own fetch; prints what each answer said.
const post = async (path, body) => {
  const response = await fetch(`https://api.openai.com/v1${path}`, {
    method: "POST",
    headers: { Authorization: `Bearer ${process.env.OPENAI_API_KEY}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  return response.json();
};
const chat = { model: "gpt-4o-mini", messages: [{ role: "user", content: "Say hello." }] };
const seen = [
  await post("/chat/completions", chat),
  await post("/chat/completions", chat),
  await post("/responses", { model: "gpt-4o-mini", input: "Say hello." }),
];
console.log(JSON.stringify(seen.map((answer) => [answer.id, answer.usage.total_tokens])));
