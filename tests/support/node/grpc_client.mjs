// A client of gRPC that dials `xds:///janua`: see tests/support/interop/grpc_client.py for what it is asked.

import { createInterface } from "node:readline";
import * as grpc from "@grpc/grpc-js";
import * as xds from "@grpc/grpc-js-xds";
import { loadSync } from "@grpc/proto-loader";

const TIMEOUT_MS = 20_000;
const PAUSE_MS = 50;

xds.register();
const [key, protos] = process.argv.slice(2);
const definition = loadSync("janua/inference/v1/inference_service.proto", { includeDirs: [protos] });
const { InferenceService } = grpc.loadPackageDefinition(definition).janua.inference.v1;
const stub = new InferenceService("xds:///janua", grpc.credentials.createInsecure());
const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${key}`);

let results = new Map();
let isStopped = false;
let workers = [];

function callOnce() {
  const message = { role: "ROLE_USER", content: [{ text: "one two three" }] };
  const request = { request: { model: "echo", messages: [message] } };
  return new Promise((resolve) => {
    const call = stub.streamChatCompletion(request, metadata, { deadline: Date.now() + TIMEOUT_MS });
    let text = "";
    call.on("data", (piece) => (text += (piece.choices ?? []).map((choice) => choice.content ?? "").join("")));
    let isFinished = false; // an error is followed by an end
    const finish = (result) => {
      if (isFinished) {
        return;
      }
      isFinished = true;
      results.set(result, (results.get(result) ?? 0) + 1);
      resolve();
    };
    call.on("error", (error) => finish(`${grpc.status[error.code]}: ${error.details}`));
    call.on("end", () => finish(text.includes("one two three") ? "ok" : `incomplete: ${text}`));
  });
}

function report() {
  const { ok = 0, ...errors } = Object.fromEntries(results);
  results = new Map();
  return { ok, errors };
}

const actions = {
  async call({ count }) {
    for (let made = 0; made < count; made++) {
      await callOnce();
    }
    return report();
  },
  async start({ workers: count }) {
    isStopped = false;
    workers = Array.from({ length: count }, async () => {
      while (!isStopped) {
        await callOnce();
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    });
    return {};
  },
  async stop() {
    isStopped = true;
    await Promise.all(workers);
    return report();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  process.stdout.write(JSON.stringify(await actions[asked.do](asked)) + "\n");
}
process.exit(0);
