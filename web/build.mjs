// Makes what the server embeds: `node build.mjs <folder>` writes `<folder>/static/<name>.js.gz`, and the release
// of posthog-js into `<folder>/static/version`. The scripts hold what they depend on, so a dependency that
// package.json overrides, because registries have an older one only, changes nothing in them.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

// What html snippets load, and what posthog-js loads later, by the names it asks for. Source maps would
// double the size; the toolbar is not in the package.
const BUNDLES = [
  "array",
  "array.full",
  "array.full.es5",
  "array.full.no-external",
  "array.no-external",
  "conversations",
  "crisp-chat-integration",
  "dead-clicks-autocapture",
  "element-inference",
  "exception-autocapture",
  "intercom-integration",
  "lazy-recorder",
  "loader",
  "loader-bootstrap",
  "logs",
  "module",
  "posthog-recorder",
  "product-tours",
  "recorder",
  "recorder-v2",
  "surveys",
  "tracing-headers",
  "web-vitals",
  "web-vitals-soft-navs",
  "web-vitals-with-attribution",
  "web-vitals-with-attribution-soft-navs",
];

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error("usage: node build.mjs <folder>");
const target = join(folder, "static");
mkdirSync(target, { recursive: true });
const posthog = join(import.meta.dirname, "node_modules/posthog-js");
const { version } = JSON.parse(readFileSync(join(posthog, "package.json"), "utf8"));
writeFileSync(join(target, "version"), version);
for (const name of BUNDLES) {
  const source = readFileSync(join(posthog, "dist", `${name}.js`), "utf8");
  // The named map is not served, and browsers would ask for it.
  const script = source.replace(/\n\/\/# sourceMappingURL=\S+\s*$/, "\n");
  writeFileSync(join(target, `${name}.js.gz`), gzipSync(script, { level: 9 }));
}
