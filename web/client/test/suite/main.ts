/** The suite's entry in each runtime. A browser's page calls {@link runCases} itself. */

import "./parser.js";

export { runCases } from "./harness.js";
