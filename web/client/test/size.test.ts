/** What a page pays for `longwave/fetch`. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

test("longwave/fetch stays small", async () => {
  const { outputFiles } = await build({
    stdin: { contents: 'export { resumingFetch } from "longwave/fetch";', resolveDir: import.meta.dirname },
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2022",
    write: false,
  });
  const bytes = gzipSync(outputFiles[0]?.contents ?? "", { level: 9 }).length;
  assert.ok(bytes > 0 && bytes <= GZIPPED_BYTES_MAX, `${bytes} bytes gzipped; at most ${GZIPPED_BYTES_MAX} are allowed`);
});

const GZIPPED_BYTES_MAX = 4 * 1024;
