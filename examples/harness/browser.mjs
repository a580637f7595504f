// The examples' pages in a real browser: serve the folder, open it in Chromium, photograph it.
//
// A page fails its check when a script throws or when it is wider than the screen at any of `WIDTHS`.
// Read `openPage` first.

import { mkdirSync } from 'node:fs'
import { basename, join } from 'node:path'
import { chromium } from 'playwright-core'
import { assert, atEnd, HANG_MS, Program, server } from './check.mjs'

const WIDTHS = [360, 768, 1440]
const HEIGHT = 900

/** Serves the example's folder as its README says, and returns where. */
export async function serveFolder(cwd) {
  const files = new Program('python3', ['-m', 'http.server', '0', '--bind', '127.0.0.1'], { cwd })
  const [, url] = await files.line(/\((http:\/\/127\.0\.0\.1:\d+)\/?\)/)
  return url
}

/** A fresh browser profile: its pages share their storage, and nothing with another run. */
export async function openBrowser() {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'],
    timeout: HANG_MS,
  })
  atEnd(() => browser.close())
  const context = await browser.newContext({ viewport: { width: WIDTHS.at(-1), height: HEIGHT } })
  context.setDefaultTimeout(HANG_MS)
  return context
}

/** Opens a page of the example, told by its address which server to use. */
export async function openPage(context, url, query = {}) {
  const page = await context.newPage()
  page.on('pageerror', (error) => assert.fail(`the page threw: ${error.stack}`))
  atEnd(async (failed) => {
    if (failed && !page.isClosed()) await photograph(page, 'failed')
  })
  await page.goto(`${url}?${new URLSearchParams({ server, ...query })}`)
  return page
}

/** Takes the network away until a page has noticed it: the browser alone keeps the connections that it has to `server`. */
export async function goOffline(context, server) {
  const noticed = context.waitForEvent('requestfailed', (request) => request.failure().errorText === 'net::ERR_INTERNET_DISCONNECTED')
  await context.setOffline(true)
  server.cut()
  await noticed
}

/**
 * A plain `EventSource` in a page of the same origin, and nothing else. `heard` tells the data of its events of a `type`, its
 * `readyState`, and how often it was opened.
 */
export async function openEventSource(context, url, type) {
  const page = await context.newPage()
  await page.goto(new URL('/livez', url).href)
  await page.evaluate(([url, type]) => {
    const source = new EventSource(url)
    const heard = { events: [], opened: 0 }
    source.addEventListener(type, ({ data }) => heard.events.push(JSON.parse(data)))
    source.onopen = () => { heard.opened += 1 }
    globalThis.heard = () => ({ ...heard, readyState: source.readyState })
  }, [url, type])
  return {
    heard: () => page.evaluate(() => globalThis.heard()),
    /** Waits until so many events have come. */
    hears: (count) => page.waitForFunction((count) => globalThis.heard().events.length >= count, count),
    /** Waits until it has stopped for good, and tells what it heard. */
    stops: async () => {
      await page.waitForFunction(() => globalThis.heard().readyState === EventSource.CLOSED)
      return page.evaluate(() => globalThis.heard())
    },
  }
}

/** Keeps a picture of the page at each width under `target/`, and checks that it fits. */
export async function photograph(page, name = 'page') {
  const pictures = join(process.env.EXAMPLE_TARGET, 'example-screenshots')
  mkdirSync(pictures, { recursive: true })
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: HEIGHT })
    await page.screenshot({ path: join(pictures, `${basename(process.cwd())}-${name}-${width}.png`), fullPage: true })
    const wide = await page.evaluate(() => document.documentElement.scrollWidth)
    assert.ok(wide <= width, `the page is ${wide} px wide on a screen of ${width} px`)
  }
}
