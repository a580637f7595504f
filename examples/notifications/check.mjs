// Each user gets their own notifications and the broadcasts, once and in order, also those sent while the page was away.

import { assert, check, openRelay, Program, publish, server } from '../harness/check.mjs'
import { openBrowser, openPage, photograph, serveFolder } from '../harness/browser.mjs'

check(async () => {
  const url = await serveFolder('.')
  const browser = await openBrowser()

  await notify('ada', 'Your build passed')
  const page = await openPage(browser, url, { user: 'ada' })
  await shows(page, ['Your build passed'])

  await notify('bob', 'Only for Bob')
  await notify('--everyone', 'Maintenance at noon')
  const curl = new Program('curl', ['-sS', '--fail', '-d', 'By curl, too', `${server}/topics/notifications/users/ada`])
  assert.equal(await curl.exit(), 0)
  await shows(page, ['By curl, too', 'To everyone: Maintenance at noon', 'Your build passed'])
  assert.equal(await page.textContent('#unread'), '3')
  await photograph(page, 'unread')

  await page.click('#bell')
  assert.equal(await page.textContent('#unread'), '')

  // Away, and back again.
  await page.close()
  await notify('ada', 'While you were away')
  await notify('--everyone', 'Maintenance is over')
  const again = await openPage(browser, url, { user: 'ada' })
  const all = ['To everyone: Maintenance is over', 'While you were away', 'By curl, too', 'To everyone: Maintenance at noon', 'Your build passed']
  await shows(again, all)
  assert.equal(await again.textContent('#unread'), '2')

  // A reload brings nothing a second time.
  await again.reload()
  await publish('notifications/users/ada', 'The last one')
  await shows(again, ['The last one', ...all])
  assert.equal(await again.textContent('#unread'), '3')

  // A connection that breaks: the browser comes back by itself, and gets what was sent meanwhile.
  const relay = await openRelay()
  const carol = await openPage(browser, url, { user: 'carol', server: relay.url })
  const earlier = ['To everyone: Maintenance is over', 'To everyone: Maintenance at noon']
  await shows(carol, earlier)
  relay.cut()
  await notify('carol', 'Sent into the gap')
  await shows(carol, ['Sent into the gap', ...earlier])
  relay.cut()
  await notify('carol', 'And again')
  await shows(carol, ['And again', 'Sent into the gap', ...earlier])

  // Another user, with a name that needs escaping in an address.
  await notify('zoë/ops', 'A name with a slash')
  const other = await openPage(browser, url, { user: 'zoë/ops' })
  await shows(other, ['A name with a slash', 'To everyone: Maintenance is over', 'To everyone: Maintenance at noon'])
})

async function notify(recipient, text) {
  const sent = new Program('python3', ['notify.py', recipient, text])
  assert.equal(await sent.exit(), 0)
  assert.match(sent.lines[0], /^[0-9a-z]+-\d+$/)
}

/** Waits until the page shows as many as expected, then compares: the newest first. */
async function shows(page, expected) {
  await page.waitForFunction((count) => document.querySelectorAll('#list li').length >= count, expected.length)
  const shown = await page.$$eval('#list li', (lines) => lines.map((line) => line.firstChild.textContent))
  assert.deepEqual(shown, expected)
}
