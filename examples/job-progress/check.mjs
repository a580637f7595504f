// The bar reaches 100 %, the files are right, the end has its reason, and after it the browser is told to stop asking.

import { randomBytes } from 'node:crypto'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { assert, check, folder, Program, readAll, server } from '../harness/check.mjs'
import { openBrowser, openPage, photograph, serveFolder } from '../harness/browser.mjs'

const FILES = ['first.bin', 'second.txt', 'third.bin']

check(async () => {
  const [input, output] = [join(folder, 'input'), join(folder, 'output')]
  const contents = [randomBytes(4_000_000), Buffer.from('a line of text\n'.repeat(300_000)), randomBytes(3_500_000)]
  mkdirSync(input)
  FILES.forEach((name, index) => writeFileSync(join(input, name), contents[index]))

  // Both watch before the job exists.
  const url = await serveFolder('.')
  const browser = await openBrowser()
  const page = await openPage(browser, url, { job: 'good' })
  const watch = new Program('python3', ['watch.py', `${server}/topics/jobs/good`])
  await page.waitForFunction(() => document.querySelector('#connection').textContent === 'live')

  const job = new Program('python3', ['archive.py', input, output, '--job', 'good'])
  assert.equal(await job.exit(), 0)
  await isShown(page, { state: 'done', connection: 'closed for good' })
  assert.equal(await page.$eval('#bar', (bar) => bar.value), 100)
  assert.match(await page.textContent('#result'), /^\d+ bytes became \d+$/)
  await photograph(page, 'done')

  assert.equal(await watch.exit(), 0)
  assert.equal(watch.lines[0], `3 files, ${contents.reduce((sum, { length }) => sum + length, 0)} bytes`)
  assert.match(watch.lines.at(-1), /^done: /)

  // The work itself was done.
  FILES.forEach((name, index) => assert.ok(gunzipSync(readFileSync(join(output, `${name}.gz`))).equals(contents[index])))
  execFileSync('sha256sum', ['--check', '--strict', join(output, 'SHA256SUMS')], { cwd: input })

  // Every hundredth once and in order, between the start and the finish.
  const { events, end } = await readAll('jobs/good')
  assert.deepEqual(events.map((event) => event.type), ['started', ...Array(100).fill('progress'), 'finished'])
  assert.deepEqual(events.slice(1, -1).map((event) => event.data.percent), Array.from({ length: 100 }, (_, i) => i + 1))
  assert.equal(end.reason, 'done')

  // Late viewers see the same.
  const late = await openPage(browser, url, { job: 'good' })
  await isShown(late, { state: 'done', connection: 'closed for good' })
  assert.equal(await late.$eval('#bar', (bar) => bar.value), 100)

  // A job that fails says so everywhere.
  const bad = new Program('python3', ['archive.py', join(folder, 'nowhere'), output, '--job', 'bad'])
  assert.equal(await bad.exit(), 1)
  const watchBad = new Program('python3', ['watch.py', `${server}/topics/jobs/bad`])
  assert.equal(await watchBad.exit(), 1)
  assert.match(watchBad.lines.join('\n'), /failed: .*nowhere/)
  const badPage = await openPage(browser, url, { job: 'bad' })
  await isShown(badPage, { state: 'error', connection: 'closed for good' })
  await photograph(badPage, 'error')
})

async function isShown(page, texts) {
  for (const [id, text] of Object.entries(texts)) {
    await page.waitForFunction(([id, text]) => document.getElementById(id).textContent === text, [id, text])
  }
}
