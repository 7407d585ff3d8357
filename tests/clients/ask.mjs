// One question to foreman by one client of Node: `node ask.mjs '{"client", "url", "stream", "limit"?}'`.
// Prints {"text"} or {"error"} as JSON. `limit` (ms) is how long Node's fetch waits for headers and between bytes of a
// body; without it Node's own 300 s hold. No client sends anything twice.
import { Agent, request, setGlobalDispatcher } from "undici";
import { Ollama } from "ollama";
import OpenAI from "openai";
import { generateText, streamText } from "ai";
import { createOllama } from "ollama-ai-provider-v2";

const { client, url, stream, limit } = JSON.parse(process.argv[2]);
const model = "llama3";
const question = "Why is the sky blue?";
const messages = [{ role: "user", content: question }];

if (limit !== undefined) {
  setGlobalDispatcher(new Agent({ headersTimeout: limit, bodyTimeout: limit }));
}

async function joined(parts, text) {
  let whole = "";
  for await (const part of parts) {
    whole += text(part) ?? "";
  }
  return whole;
}

const clients = {
  async ollama() {
    const answer = await new Ollama({ host: url }).chat({ model, messages, stream });
    return stream ? joined(answer, (part) => part.message.content) : answer.message.content;
  },

  async openai() {
    const sdk = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
    const answer = await sdk.chat.completions.create({ model, messages, stream });
    return stream ? joined(answer, (part) => part.choices[0].delta.content) : answer.choices[0].message.content;
  },

  async ai() {
    const asked = { model: createOllama({ baseURL: `${url}/api` })(model), prompt: question, maxRetries: 0 };
    if (!stream) {
      return (await generateText(asked)).text;
    }
    const { fullStream } = streamText({ ...asked, onError: () => {} });
    return joined(fullStream, (part) => {
      if (part.type === "error") {
        throw part.error;
      }
      return part.type === "text-delta" ? part.text : "";
    });
  },

  async undici() {
    const { body } = await request(`${url}/api/chat`, {
      method: "POST",
      body: JSON.stringify({ model, messages, stream }),
      headers: { "content-type": "application/json" },
    });
    const lines = (await body.text()).split("\n").slice(0, stream ? -1 : undefined);
    const parts = lines.map((line) => JSON.parse(line));
    if (parts.some((part) => part.error)) {
      throw new Error(parts.at(-1).error);
    }
    return parts.map((part) => part.message.content).join("");
  },
};

try {
  console.log(JSON.stringify({ text: await clients[client]() }));
} catch (error) {
  const causes = [];
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    causes.push(`${cause.name}: ${cause.message}${cause.code ? ` (${cause.code})` : ""}`);
  }
  console.log(JSON.stringify({ error: causes.join("; ") || String(error) }));
}
process.exit(0);
