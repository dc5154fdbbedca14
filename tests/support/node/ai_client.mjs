// The AI SDK for Node, over the APIs of OpenAI and Anthropic.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { Output, embedMany, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

import { CITY, HELLO, REPORT, WEATHER, serve } from "./serve.mjs";

function scenarios(model, embedder) {
  const asked = { model, prompt: HELLO, maxRetries: 0, onError: ({ error }) => console.error(error) };

  function withTool() {
    const calls = [];
    const weather = tool({
      description: WEATHER.description,
      inputSchema: jsonSchema(CITY),
      execute(input) {
        calls.push(["weather", input]);
        return "12 degrees";
      },
    });
    return { calls, fields: { ...asked, tools: { weather }, stopWhen: stepCountIs(3) } };
  }

  return {
    async answer() {
      const { text, usage } = await generateText(asked);
      return { text, tokens: [usage.inputTokens, usage.outputTokens] };
    },
    async stream() {
      const pieces = [];
      let failure;
      const result = streamText({ ...asked, onError: ({ error }) => (failure = error) });
      for await (const piece of result.textStream) {
        pieces.push(piece);
      }
      if (failure !== undefined) {
        throw failure;
      }
      return { text: await result.text, pieces };
    },
    async tools() {
      const { calls, fields } = withTool();
      const { text } = await generateText(fields);
      return { calls, text };
    },
    async streamed_tools() {
      const { calls, fields } = withTool();
      const result = streamText(fields);
      await result.consumeStream();
      return { calls, text: await result.text };
    },
    async structured() {
      const { output } = await generateText({ ...asked, output: Output.object({ schema: jsonSchema(REPORT) }) });
      return { value: output };
    },
    async embeddings() {
      const { embeddings } = await embedMany({ model: embedder, values: [HELLO], maxRetries: 0 });
      return { vectors: embeddings };
    },
  };
}

const openai = ({ url, key }) => createOpenAI({ baseURL: `${url}/v1`, apiKey: key });

await serve({
  openai: (node) => scenarios(openai(node).responses("m")),
  openai_chat: (node) => scenarios(openai(node).chat("m"), openai(node).embedding("m")),
  anthropic: ({ url, key }) => scenarios(createAnthropic({ baseURL: `${url}/v1`, apiKey: key })("m")),
});
