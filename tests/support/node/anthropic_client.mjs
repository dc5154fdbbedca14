// The official Anthropic client for Node.

import Anthropic from "@anthropic-ai/sdk";

import { CITY, HELLO, REPORT, WEATHER, serve } from "./serve.mjs";

const messages = [{ role: "user", content: HELLO }];
const tools = [{ ...WEATHER, input_schema: CITY }];
const asked = { model: "m", max_tokens: 100, messages };
const textOf = (message) => message.content.map((block) => (block.type === "text" ? block.text : "")).join("");

function anthropic({ url, key }) {
  const client = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0 });

  async function afterCalls(message) {
    const made = message.content.filter((block) => block.type === "tool_use");
    const results = made.map(({ id }) => ({ type: "tool_result", tool_use_id: id, content: "12 degrees" }));
    const turns = [...messages, { role: "assistant", content: message.content }, { role: "user", content: results }];
    const answer = await client.messages.create({ ...asked, tools, messages: turns });
    return { calls: made.map((call) => [call.name, call.input]), text: textOf(answer) };
  }

  return {
    async answer() {
      const message = await client.messages.create(asked);
      return { text: textOf(message), tokens: [message.usage.input_tokens, message.usage.output_tokens] };
    },
    async stream() {
      const pieces = [];
      const stream = client.messages.stream(asked).on("text", (piece) => pieces.push(piece));
      return { text: await stream.finalText(), pieces };
    },
    async tools() {
      return afterCalls(await client.messages.create({ ...asked, tools }));
    },
    async streamed_tools() {
      return afterCalls(await client.messages.stream({ ...asked, tools }).finalMessage());
    },
    async structured() {
      const output_config = { format: { type: "json_schema", schema: REPORT } };
      return { value: JSON.parse(textOf(await client.messages.create({ ...asked, output_config }))) };
    },
  };
}

await serve({ anthropic });
