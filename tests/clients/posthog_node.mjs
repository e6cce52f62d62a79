// The posthog-node package as an application uses it: sends events, flushes, says which uuids it sent.
//
// A request is {"host", "token", "events": n, "gzip": bool, "mode": "v0" or "v1", "prefix"}; the answer
// {"uuids": […], "errors": […]} comes after shutdown has resolved, that is after the last answer of the server.
// With "ai", one more event goes through the lane of AI events.

import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.env.HOGFLARE_TEST_NODE_MODULES}/`);
const { PostHog } = require("posthog-node");

const SHUTDOWN_MS_MAX = 300_000;

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const errors = [];
  process.env.POSTHOG_CAPTURE_MODE = request.mode;
  const client = new PostHog(request.token, {
    host: request.host,
    disableCompression: !request.gzip,
    flushAt: 100,
    maxQueueSize: request.events + 1,
  });
  client.on("error", (error) => errors.push(String(error)));
  const uuids = [];
  for (let number = 0; number < request.events; number++) {
    const uuid = randomUUID();
    uuids.push(uuid);
    client.capture({
      uuid,
      event: number % 10 === 0 ? "order placed" : "$pageview",
      distinctId: `${request.prefix}-${number % 250}`,
      properties: {
        $current_url: `https://shop.example/item/${number % 40}`,
        $session_id: `session-${Math.floor(number / 20)}`,
        amount: number / 8,
        note: "größer als 5 € 🛒",
      },
    });
  }
  if (request.ai) {
    client.captureAi({ event: "$ai_generation", distinctId: "model-user", properties: { $ai_model: "m-1" } });
  }
  await client.flush();
  await client.shutdown(SHUTDOWN_MS_MAX);
  console.log(JSON.stringify({ ok: { uuids, errors } }));
}
