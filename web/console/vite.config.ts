// Everything in files of their own under /console/assets, since the server's policy lets no page hold a script or a style.

import { defineConfig } from "vite";

export default defineConfig({
  base: "/console/",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    // What the licences of those whose code is in it ask for.
    license: { fileName: "licences.md" },
  },
  // `vite` alone serves the sources, over a Longwave that runs.
  server: { proxy: { "/topics": "http://127.0.0.1:4480" } },
});
