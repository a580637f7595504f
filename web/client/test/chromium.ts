/** A Chromium for tests: the machine's own, with a fresh profile each time. */

import { type BrowserContext, type Page, chromium } from "playwright-core";

/** Calls back with a page; the browser is gone afterwards. */
export async function withPage(use: (page: Page, context: BrowserContext) => Promise<void>): Promise<void> {
  const browser = await chromium.launch({ executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium", args: FLAGS });
  try {
    const context = await browser.newContext();
    await use(await context.newPage(), context);
  } finally {
    await browser.close();
  }
}

const FLAGS = [
  "--no-sandbox",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];
