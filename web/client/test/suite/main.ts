/** The suite's entry in each runtime. A browser's page calls {@link runCases} itself. */

import "./eventsource.js";
import "./fallback.js";
import "./parser.js";
import "./websocket.js";

export { runCases } from "./harness.js";
