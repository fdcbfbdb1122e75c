// What the checks in a browser share: their configuration, numbers and artifacts, and browsers in both cookie modes. The head of
// check.mjs lists the settings.
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

if (!process.argv[2]) {
  console.error('usage: node check.mjs check.json');
  process.exit(2);
}
export const config = JSON.parse(readFileSync(process.argv[2], 'utf8'));
export const artifacts = process.env.CHECK_ARTIFACTS ?? mkdtempSync(join(tmpdir(), 'lti-check-'));
export const timeout = Number(process.env.CHECK_TIMEOUT ?? 15_000);
/** Chromium's preference profile.cookie_controls_mode for cookies in a cross-site frame; both modes leave partitioned ones. */
export const cookieModes = { allowed: 0, blocked: 1 };
mkdirSync(artifacts, { recursive: true });

let passed = 0;
export let failed = 0;
let browsers = [];

export async function check(text, run) {
  if (process.env.CHECK_ONLY && !text.includes(process.env.CHECK_ONLY)) return;
  const number = passed + failed + 1;
  browsers = [];
  try {
    await run();
    passed++;
    console.log(`ok ${number} - ${text}`);
  } catch (error) {
    failed++;
    const pages = await describePages(number);
    const why = [error.message.split('\n')[0], ...pages].join('; ').replace(/\s+/g, ' ');
    console.log(`not ok ${number} - ${text}: ${why}`);
  } finally {
    for (const browser of browsers) await browser.close();
  }
}

export function assert(condition, why) {
  if (!condition) throw new Error(why);
}

/** What the open pages of a failed check show; each gets a screenshot. */
async function describePages(number) {
  const pages = browsers.flatMap(browser => browser.context?.pages() ?? [])
    .filter(page => !['about:blank', new URL(config.platform).href].includes(page.url()));
  const lines = [];
  for (const [index, page] of pages.entries()) {
    await page.screenshot({ path: join(artifacts, `failed-${number}-${index + 1}.png`), fullPage: true, timeout: 5000 }).catch(() => {});
    for (const frame of page.frames()) {
      const text = await frame.locator('body').innerText({ timeout: 1000 }).catch(() => '');
      lines.push(`${frame === page.mainFrame() ? 'page' : 'frame'} ${frame.url().split('?')[0]} shows "${text.slice(0, 160)}"`);
    }
  }
  return lines;
}

/**
 * A browser with a profile of its own, in one of the cookie modes; the mode is verified before anything is launched. With
 * withhold it keeps no cookie at all for the handler in a frame of the platform, as Safari does. What it gets is recorded, unless
 * that is for its person only.
 */
export async function openBrowser(cookies = 'allowed', { withhold = false, recorded = true, ...options } = {}) {
  const profile = mkdtempSync(join(tmpdir(), 'lti-check-profile-'));
  mkdirSync(join(profile, 'Default'));
  const site = address => Object.assign(new URL(address), { port: '' }).origin;
  const exceptions = withhold ? { [`${site(config.handler)},${site(config.platform)}`]: { setting: 2 } } : {};
  writeFileSync(join(profile, 'Default', 'Preferences'), JSON.stringify({
    profile: { cookie_controls_mode: cookieModes[cookies], content_settings: { exceptions: { cookies: exceptions } } },
  }));
  const browser = { close: async () => rmSync(profile, { recursive: true, force: true, maxRetries: 5 }) };
  browsers.push(browser);
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    locale: 'en-GB',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
      // One process for all sites: while a frame goes through several of them quickly, Playwright may lose sight of it.
      '--disable-site-isolation-trials',
      // oidc-provider's pages want a font from elsewhere, and are not loaded before that has failed: without this, after 15 seconds.
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE *.localhost, EXCLUDE 127.0.0.1'],
    ...options,
  });
  const removeProfile = browser.close;
  browser.context = context;
  browser.close = async () => {
    await context.close();
    await removeProfile();
  };
  context.setDefaultTimeout(timeout);
  if (process.env.CHECK_TRAFFIC && recorded) context.on('response', record);
  await assertCookieMode(context, cookies);
  return context;
}

/** What somebody who looks over a person's shoulder, or into the browser's history, could see. */
async function record(response) {
  const body = await response.text().catch(() => ''); // redirects have none
  appendFileSync(process.env.CHECK_TRAFFIC, `${JSON.stringify({ url: response.url(), headers: response.headers(), body })}\n`);
}

export const testid = (root, id) => root.locator(`[data-testid="${id}"]`);
export const textOf = async (root, id) => (await testid(root, id).innerText()).trim();

async function assertCookieMode(context, cookies) {
  const page = await context.newPage();
  await page.goto(`${config.academy}/probe/set`);
  await page.goto(`${config.platform}/probe/from?to=${encodeURIComponent(`${config.academy}/probe/echo`)}`);
  const received = await textOf(page.frameLocator('[data-testid="framed"]'), 'cookies');
  const wanted = cookies === 'allowed' ? 'probe_none' : '';
  assert(received === wanted, `this browser does not have cookies ${cookies}: a cross-site frame sent "${received}"`);
  await page.close();
}

/** Says how many passed, and ends. */
export function finish() {
  if (failed > 0) console.log(`screenshots: ${artifacts}`);
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed > 0 || passed === 0 ? 1 : 0);
}
