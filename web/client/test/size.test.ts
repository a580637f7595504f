/** What a page pays for each part of the package. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

for (const [name, imported, gzippedBytesMax] of [
  ["longwave", "EventSource", 6 * 1024],
  ["longwave/fetch", "resumingFetch", 4 * 1024],
] as const) {
  test(`${name} stays small`, async () => {
    const { outputFiles } = await build({
      stdin: { contents: `export { ${imported} } from "${name}";`, resolveDir: import.meta.dirname },
      bundle: true,
      minify: true,
      format: "esm",
      target: "es2022",
      write: false,
    });
    const bytes = gzipSync(outputFiles[0]?.contents ?? "", { level: 9 }).length;
    assert.ok(bytes > 0 && bytes <= gzippedBytesMax, `${bytes} bytes gzipped; at most ${gzippedBytesMax} are allowed`);
    console.log(`${name}: ${bytes} bytes gzipped`);
  });
}
