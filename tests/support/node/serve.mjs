// Runs scenarios of a client: a line of JSON in for each, `{"variant", "scenario", "url", "key"}`, and one out with what
// the client gave, or with the error that it threw.

import { createInterface } from "node:readline";

export async function serve(variants) {
  console.log = console.info = console.error; // what clients have to say is no result
  for await (const line of createInterface({ input: process.stdin })) {
    const { variant, scenario, url, key } = JSON.parse(line);
    let result;
    try {
      result = await variants[variant]({ url, key })[scenario]();
    } catch (error) {
      result = { error: describe(error) };
    }
    process.stdout.write(JSON.stringify(result) + "\n");
  }
}

function describe(error) {
  const headers = error.headers ?? error.responseHeaders;
  const retryAfter = headers instanceof Headers ? headers.get("retry-after") : headers?.["retry-after"];
  const status = error.status ?? error.statusCode ?? null;
  const kinds = [];
  for (let kind = error.constructor; kind?.name; kind = Object.getPrototypeOf(kind)) {
    kinds.push(kind.name);
  }
  return { kinds, status, retry_after: retryAfter ?? null, message: String(error.message) };
}

export const HELLO = "hello";
export const WEATHER = { name: "weather", description: "Tells the weather of a city." };
export const CITY = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
export const REPORT = {
  type: "object",
  properties: { city: { type: "string" }, degrees: { type: "integer" } },
  required: ["city", "degrees"],
  additionalProperties: false,
};
