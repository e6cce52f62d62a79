// Flags of the posthog-node package as an application uses them.
//
// A request has {"host", "token", "key", "op"}; with a key the client evaluates flags itself. Operations:
//   {"op": "local", "questions", "keys", "send_cohorts"}   values and payloads, never asking the server:
//                                  [{"values", "payloads"}, …]
//   {"op": "poll", "times"}        fetches the definitions anew, as often
//   {"op": "remote", "question", "keys"}                   the server's answer to all flags, and the value and payload of
//                                  some, asked one by one and together:
//                                  {"values", "payloads", "each": {key: [value, payload]}, "together": {…}}
//   {"op": "payloads", "keys"}     remote configurations: {key: payload, or {"error"}}
// A question has {"distinct_id", "properties", "groups", "group_properties"}; the properties are JSON text, whose numbers
// are kept as they are written. Answers are {"answer", "asked": [[path, status], …], "errors"}.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.env.HOGFLARE_TEST_NODE_MODULES}/`);
const { PostHog } = require("posthog-node");

const WAIT_MS_MAX = 60_000;
const NEVER_MS = 2 ** 30;

console.warn = () => {};

function options(question) {
  return {
    personProperties: question.properties === undefined ? undefined : JSON.parse(question.properties),
    groups: question.groups,
    groupProperties: question.group_properties,
  };
}

async function all(client, question, more) {
  const found = await client.getAllFlagsAndPayloads(question.distinct_id, { ...options(question), ...more });
  return { values: found.featureFlags, payloads: found.featureFlagPayloads };
}

const operations = {
  async local(client, { questions, keys }) {
    if (!(await client.waitForLocalEvaluationReady(WAIT_MS_MAX))) throw new Error("there are no definitions");
    const answers = [];
    for (const question of questions) {
      answers.push(await all(client, question, { onlyEvaluateLocally: true, flagKeys: keys }));
    }
    return answers;
  },
  async poll(client, { times }) {
    await client.waitForLocalEvaluationReady(WAIT_MS_MAX);
    for (let time = 0; time < times; time++) await client.reloadFeatureFlags();
  },
  async remote(client, { question, keys }) {
    const each = {};
    for (const key of keys) {
      const value = await client.getFeatureFlag(key, question.distinct_id, options(question));
      const payload = await client.getFeatureFlagPayload(key, question.distinct_id, undefined, options(question));
      each[key] = [value ?? null, payload ?? null];
    }
    const found = await client.evaluateFlags(question.distinct_id, { ...options(question), flagKeys: keys });
    const named = keys.map((key) => [key, [found.getFlag(key) ?? null, found.getFlagPayload(key) ?? null]]);
    return { ...(await all(client, question)), each, together: Object.fromEntries(named) };
  },
  async payloads(client, { keys }) {
    const answers = {};
    for (const key of keys) {
      answers[key] = (await client.getRemoteConfigPayload(key).catch((error) => ({ error: error.name }))) ?? null;
    }
    return answers;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const asked = [];
  const errors = [];
  const client = new PostHog(request.token, {
    host: request.host,
    personalApiKey: request.key,
    featureFlagsPollingInterval: NEVER_MS,
    // Earlier releases did not say that they understand cohorts.
    fetch: async (url, options) => {
      const sent = request.send_cohorts === false ? url.replace("&send_cohorts", "") : url;
      const answer = await fetch(sent, options);
      asked.push([new URL(url).pathname, answer.status]);
      return answer;
    },
  });
  client.on("error", (error) => errors.push(String(error)));
  try {
    const answer = await operations[request.op](client, request);
    await client.shutdown(WAIT_MS_MAX);
    console.log(JSON.stringify({ ok: { answer: answer ?? null, asked, errors } }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error.stack ?? error) }));
  }
}
