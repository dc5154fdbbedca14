// The official OpenAI client for Node, with chat completions and with responses.

import OpenAI from "openai";

import { CITY, HELLO, REPORT, WEATHER, serve } from "./serve.mjs";

const open = ({ url, key }) => new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const messages = [{ role: "user", content: HELLO }];
const tools = [{ type: "function", function: { ...WEATHER, parameters: CITY, strict: true } }];
const format = { type: "json_schema", json_schema: { name: "report", schema: REPORT, strict: true } };

function chat(node) {
  const client = open(node);
  const ask = (fields) => client.chat.completions.create({ model: "m", messages, ...fields });

  async function afterCalls(message) {
    const calls = message.tool_calls.map((call) => [call.function.name, JSON.parse(call.function.arguments)]);
    const results = message.tool_calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: "12 degrees" }));
    const answer = await ask({ tools, messages: [...messages, message, ...results] });
    return { calls, text: answer.choices[0].message.content };
  }

  return {
    async answer() {
      const answer = await ask({});
      const { prompt_tokens, completion_tokens } = answer.usage;
      return { text: answer.choices[0].message.content, tokens: [prompt_tokens, completion_tokens] };
    },
    async stream() {
      const pieces = [];
      const stream = client.chat.completions.stream({ model: "m", messages });
      stream.on("content", (piece) => pieces.push(piece));
      return { text: await stream.finalContent(), pieces };
    },
    async tools() {
      const answer = await ask({ tools });
      return afterCalls(answer.choices[0].message);
    },
    async streamed_tools() {
      const stream = client.chat.completions.stream({ model: "m", messages, tools });
      return afterCalls(await stream.finalMessage());
    },
    async structured() {
      const answer = await client.chat.completions.parse({ model: "m", messages, response_format: format });
      return { value: JSON.parse(answer.choices[0].message.content) };
    },
    async embeddings() {
      const answer = await client.embeddings.create({ model: "m", input: [HELLO] });
      return { vectors: answer.data.map((each) => each.embedding) };
    },
    async transcription() {
      // The file comes before the model, as people write it.
      const file = new File([new Uint8Array(300_000)], "a.wav");
      const answer = await client.audio.transcriptions.create({ file, model: "m" });
      return { text: answer.text };
    },
    async speech() {
      const answer = await client.audio.speech.create({ model: "m", voice: "alloy", input: HELLO });
      return { bytes: (await answer.arrayBuffer()).byteLength };
    },
  };
}

function responses(node) {
  const client = open(node);
  const input = messages;
  const tools = [{ type: "function", ...WEATHER, parameters: CITY, strict: true }];
  const text = { format: { type: "json_schema", name: "report", schema: REPORT, strict: true } };
  const ask = (fields) => client.responses.create({ model: "m", input, store: false, ...fields });

  async function afterCalls(response) {
    const made = response.output.filter((item) => item.type === "function_call");
    const calls = made.map((call) => [call.name, JSON.parse(call.arguments)]);
    const results = made.map(({ call_id }) => ({ type: "function_call_output", call_id, output: "12 degrees" }));
    const answer = await ask({ tools, input: [...input, ...response.output, ...results] });
    return { calls, text: answer.output_text };
  }

  return {
    async answer() {
      const answer = await ask({});
      return { text: answer.output_text, tokens: [answer.usage.input_tokens, answer.usage.output_tokens] };
    },
    async stream() {
      const pieces = [];
      const stream = client.responses.stream({ model: "m", input, store: false });
      stream.on("response.output_text.delta", (event) => pieces.push(event.delta));
      const [message] = (await stream.finalResponse()).output;
      return { text: message.content.map((part) => part.text).join(""), pieces };
    },
    async tools() {
      return afterCalls(await ask({ tools }));
    },
    async streamed_tools() {
      return afterCalls(await client.responses.stream({ model: "m", input, tools, store: false }).finalResponse());
    },
    async structured() {
      const answer = await client.responses.parse({ model: "m", input, text, store: false });
      return { value: JSON.parse(answer.output_text) };
    },
  };
}

await serve({ chat, responses });
