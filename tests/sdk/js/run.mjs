// Runs the JavaScript SDKs through a gateway, or (`--directly`) plainly against the simulator alone.
//
//     node run.mjs --gateway http://127.0.0.1:4480 --upstream http://127.0.0.1:9100 --relay http://127.0.0.1:9200
//
// Prints a line `ok …` or `FAILED …` for each case, how many connections were cut, and `N passed, M failed`.

import { parseArgs } from "node:util";

import { run } from "./harness.mjs";
import * as plain from "./plain.mjs";

const { values } = parseArgs({
  options: {
    /** The simulator's URL. */
    upstream: { type: "string" },
    /** The URL of a server with the routes of `tests/e2e/gateway.rs`. */
    gateway: { type: "string" },
    /** The control URL of `relay.mjs`. */
    relay: { type: "string" },
    /** Without a gateway: what the SDKs do with the simulator. */
    directly: { type: "boolean", default: false },
    /** Where connections are cut. */
    seed: { type: "string", default: String(Math.floor(Math.random() * 1e9)) },
    /** Only the cases whose names match. */
    only: { type: "string", default: "" },
    /** Cases at a time. */
    jobs: { type: "string", default: "12" },
  },
});
const settings = { ...values, jobs: Number(values.jobs), gateway: values.directly ? values.upstream : values.gateway };
console.log(`seed ${settings.seed}`);
process.exitCode = (await run(await chosenCases(), settings)) ? 0 : 1;

async function chosenCases() {
  if (values.directly) return plain.cases();
  // These need the package `longwave`, which plain use does not.
  const others = await Promise.all(["./faults.mjs", "./ends.mjs", "./again.mjs"].map((module) => import(module)));
  return [plain, ...others].flatMap((module) => module.cases());
}
