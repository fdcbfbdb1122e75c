// What the checks of single pages share: a browser, numbers and comparisons. Go tests in internal/pages serve the pages at
// *.localhost on one port and run these checks with it; the head of each says what else it is given.
//
// CHECK_ONLY         run only the checks whose text contains this
// CHECK_ONE_PROCESS  1: the browser keeps all sites in one process
// CHROMIUM           the browser (/usr/bin/chromium)
import { chromium } from 'playwright-core';

const port = Number(process.argv[2]);
if (!port) {
  console.error(`usage: node ${process.argv[1]} PORT …`);
  process.exit(2);
}
export const at = (host, path = '/') => `http://${host}.localhost:${port}${path}`;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking',
    // One process for all sites: Playwright may lose sight of a frame of another site, and then waits for it without end.
    ...(process.env.CHECK_ONE_PROCESS ? ['--disable-site-isolation-trials'] : [])],
});
let passed = 0;
let failed = 0;

export async function check(text, run, options = {}) {
  if (process.env.CHECK_ONLY && !text.includes(process.env.CHECK_ONLY)) return;
  const context = await browser.newContext({ locale: 'en-GB', ...options });
  context.setDefaultTimeout(10_000);
  try {
    await run(context);
    passed++;
    console.log(`ok ${passed + failed} - ${text}`);
  } catch (error) {
    failed++;
    console.log(`not ok ${passed + failed} - ${text}: ${error.message.split('\n')[0]}`);
  } finally {
    await context.close();
  }
}

export function equal(got, want, what) {
  if (JSON.stringify(got) !== JSON.stringify(want)) {
    throw new Error(`${what}: ${JSON.stringify(got)?.slice(0, 600)}, not ${JSON.stringify(want)}`);
  }
}

/** Says how many passed, and ends. */
export async function finish() {
  await browser.close();
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed > 0 || passed === 0 ? 1 : 0);
}
