// posthog-js as a web page uses it, in Chromium: an html snippet that loads /static/array.js from the server.
//
// The page comes from a server of its own, on another port than the one it sends to. Requests:
//   {"op": "open", "host", "token", "options"}      a fresh browser profile; answers when the SDK has its remote
//                                                   configuration: {"distinct_id", "session_id", "page", "site"}
//   {"op": "call", "method", "arguments"}           a method of posthog, with its result
//   {"op": "fail", "message"}                       captureException of an error that was caught
//   {"op": "throw", "message"}                      an error that nobody catches
//   {"op": "click", "selector"}
//   {"op": "flags", "keys"}                         asks for flags anew: {key: {"value", "payload"}}
//   {"op": "scripts"}                               file names of the scripts from the server that have run
//   {"op": "posts"}                                 POSTs: [{"path", "query", "status"}], null without an answer
//   {"op": "leave"}                                 goes to another page; the paths of beacons that this one has sent
//   {"op": "close"}                                 ends the browser

import { once } from "node:events";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const require = createRequire(`${process.env.HOGFLARE_TEST_NODE_MODULES}/`);
const { chromium } = require("playwright-core");

const WAIT_MS_MAX = 120_000;

// What the snippet must know of posthog-js: calls before the script is there wait in an array, each as
// [method, …arguments], and `_i` holds the arguments of init.
const QUEUED = ["capture", "identify", "register"];

const page_html = (page) => `<!doctype html>
<html lang="en">
  <head>
    <title>Shop</title>
    <link rel="icon" href="data:," />
    <script>
      const scripts = [];
      // Listeners of the script itself come later in the same event, and start what it brings.
      const note = (script) => setTimeout(() => scripts.push(new URL(script.src).pathname.split("/").pop()), 0);
      document.addEventListener("load", (event) => event.target.crossOrigin === "anonymous" && note(event.target), true);
      // Chromium tells nobody of beacons that a page sends at its end, so they are noted where the next one reads.
      const send = navigator.sendBeacon.bind(navigator);
      navigator.sendBeacon = (url, body) => {
        sessionStorage.setItem("beacons", (sessionStorage.getItem("beacons") ?? "") + new URL(url).pathname + " ");
        return send(url, body);
      };
      const queue = (window.posthog = window.posthog || []);
      queue._i = [];
      queue.people = [];
      queue.__SV = 1;
      queue.init = (token, options) => {
        for (const method of ${JSON.stringify(QUEUED)}) queue[method] = (...words) => queue.push([method, ...words]);
        queue._i.push([token, options, "posthog"]);
        const script = document.createElement("script");
        script.crossOrigin = "anonymous";
        script.async = true;
        script.src = options.api_host + "/static/array.js";
        document.head.append(script);
      };
      posthog.init(${JSON.stringify(page.token)}, ${JSON.stringify(page.options)});
      posthog.capture("queued before the script", { early: true });
    </script>
  </head>
  <body>
    <h1>Shop</h1>
    <button id="buy" class="primary">Buy</button>
    <p id="dead">Nothing happens here</p>
    <p id="log"></p>
    <script src="/shop.js"></script>
  </body>
</html>`;

const SHOP_JS = `
document.getElementById("buy").addEventListener("click", () => {
  document.getElementById("log").textContent += "bought ";
});
function failLater(message) {
  setTimeout(() => { throw new TypeError(message); }, 0);
  return new Promise((resolve) => setTimeout(resolve, 1));
}
function failNow(message) {
  try {
    throw new RangeError(message);
  } catch (error) {
    return posthog.captureException(error, { attempt: 2 });
  }
}
`;

let shown = { token: "", options: {} };
const site = createServer((request, response) => {
  const bodies = { "/shop.js": SHOP_JS, "/away": "<!doctype html><title>Away</title>" };
  response.setHeader("content-type", request.url === "/shop.js" ? "text/javascript" : "text/html; charset=utf-8");
  response.end(bodies[request.url] ?? page_html(shown));
});
site.listen(0, "127.0.0.1");
await once(site, "listening");
const address = `http://127.0.0.1:${site.address().port}`;

let browser;
let context;
let page;
let posts = [];

function note(request) {
  if (request.method() !== "POST") return;
  const url = new URL(request.url());
  const post = { path: url.pathname, query: url.search, status: null };
  posts.push(post);
  const answered = (response) => (post.status = response?.status() ?? null);
  request.response().then(answered, () => {});
}

async function open({ host, token, options }) {
  // Root may not use the sandbox of Chromium.
  browser ??= await chromium.launch({
    executablePath: process.env.HOGFLARE_TEST_CHROMIUM,
    args: process.getuid() === 0 ? ["--no-sandbox"] : [],
  });
  await context?.close();
  context = await browser.newContext({ viewport: { width: 1200, height: 800 }, locale: "en-GB" });
  context.setDefaultTimeout(WAIT_MS_MAX);
  page = await context.newPage();
  posts = [];
  context.on("request", note);
  // A headless browser counts as a bot, of which posthog-js sends nothing.
  shown = { token, options: { api_host: host, opt_out_useragent_filter: true, ...options } };
  const url = `${address}/cart?utm_source=letter`;
  await page.goto(url);
  // The compression comes with the remote configuration.
  await page.waitForFunction(() => window.posthog?.__loaded && posthog.compression !== undefined);
  const ids = await page.evaluate(() => [posthog.get_distinct_id(), posthog.get_session_id()]);
  return { distinct_id: ids[0], session_id: ids[1], page: url, site: new URL(url).host };
}

async function flags({ keys }) {
  return page.evaluate(async (keys) => {
    await new Promise((resolve) => {
      // Called at once with what is there, and again when it is new.
      let asked = false;
      posthog.onFeatureFlags(() => asked && resolve());
      asked = true;
      posthog.reloadFeatureFlags();
    });
    const answer = (key) => ({
      value: posthog.getFeatureFlag(key) ?? null,
      payload: posthog.getFeatureFlagPayload(key) ?? null,
    });
    return Object.fromEntries(keys.map((key) => [key, answer(key)]));
  }, keys);
}

const operations = {
  open,
  flags,
  call: ({ method, arguments: words }) =>
    page.evaluate(([method, words]) => void posthog[method](...words), [method, words ?? []]),
  fail: ({ message }) => page.evaluate((message) => void failNow(message), message),
  throw: ({ message }) => page.evaluate((message) => failLater(message), message),
  click: ({ selector }) => page.click(selector),
  scripts: () => page.evaluate(() => scripts.filter((name) => name !== "config.js").sort()),
  posts: () => posts,
  leave: async () => {
    await page.goto(`${address}/away`);
    return page.evaluate(() => (sessionStorage.getItem("beacons") ?? "").split(" ").filter((path) => path !== ""));
  },
  close: () => browser?.close(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  try {
    const answer = await operations[request.op](request);
    console.log(JSON.stringify({ ok: answer ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error.stack ?? error) }));
  }
}
await browser?.close();
site.close();
