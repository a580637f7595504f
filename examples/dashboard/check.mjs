// The page draws what the publisher measured: the past at once, then each new sample, and the numbers are this machine's.

import { hostname } from 'node:os'
import { assert, check, Program, readPage } from '../harness/check.mjs'
import { openBrowser, openPage, photograph, serveFolder } from '../harness/browser.mjs'

check(async () => {
  const publisher = new Program('node', ['publish.mjs', '--every', '100'])
  const [, topic] = await publisher.line(/^publishing to http.*\/topics\/(dashboard\/.+)$/)
  assert.equal(decodeURIComponent(topic), `dashboard/${hostname()}`)

  const url = await serveFolder('.')
  const page = await openPage(await openBrowser(), url)
  const samples = (count) =>
    page.waitForFunction(
      (count) => document.querySelector('polyline')?.getAttribute('points').split(' ').length >= count,
      count,
    )
  await samples(30)
  assert.equal(await page.textContent('h2'), hostname())
  assert.equal(await page.textContent('#state'), 'live')
  await photograph(page)

  // A page opened now has the past before anything new can come.
  await publisher.stop()
  await page.reload()
  await samples(30)

  const { events } = await readPage(`topics/${topic}?last=1`)
  const { cpu_percent, memory_percent, load_average, network_bytes_per_second } = events[0].data
  assert.ok(cpu_percent >= 0 && cpu_percent <= 100)
  assert.ok(memory_percent > 0 && memory_percent < 100)
  assert.ok(load_average >= 0)
  assert.ok(network_bytes_per_second >= 0)
  const shown = await page.textContent('[data-key=memory_percent] output')
  assert.equal(shown, `${memory_percent.toLocaleString('en')} %`)
})
