// Judges every page that people see (internal/pages) in a real browser: with axe-core, in each language, and with a keyboard
// alone. What axe finds is printed, by rule and element.
//
//   node pages-check.mjs PORT SCREENSHOTS NAME.LANG…
//
// PORT is where pages_browser_test.go in internal/pages serves each page as lti.localhost/NAME.LANG; a screenshot of each goes to
// the directory SCREENSHOTS.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import axe from 'axe-core';
import { at, check, equal, finish } from './pages.mjs';
import { request } from './web.mjs';

const [screenshots, ...names] = process.argv.slice(3);
mkdirSync(screenshots, { recursive: true });

/** What a keyboard must reach, in the order of the page; of radio buttons of one name, one. */
const controls = () => {
  const seen = new Set();
  return [...document.querySelectorAll('a[href], button, input:not([type="hidden"]), select, textarea, summary, iframe, [tabindex="0"]')]
    .filter(e => e.checkVisibility() && !e.matches(':disabled'))
    .filter(e => e.type !== 'radio' || !seen.has(e.name) && seen.add(e.name))
    .map(e => (e.dataset.control ??= String(document.querySelectorAll('[data-control]').length), e.dataset.control));
};

/** The control that has the focus, and whether somebody sees that it has. */
const focused = () => {
  const { activeElement: e } = document;
  const { outlineStyle, outlineWidth } = getComputedStyle(e);
  const group = e.type === 'radio' ? document.querySelector(`[type="radio"][name="${CSS.escape(e.name)}"][data-control]`) : e;
  return {
    control: group?.dataset.control, name: e.outerHTML.slice(0, 80),
    // What is in a frame shows its focus itself.
    visible: e.matches('iframe') || e.matches(':focus-visible') && outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2,
  };
};

/** Opens a page that stays: its own script does not run, and it loads nothing. */
async function open(context, name) {
  const page = await context.newPage();
  await page.route('**', async route => {
    if (route.request().url() !== at('lti', `/${name}`)) return route.fulfill({ status: 204 });
    const { status, headers, text: body } = await request(route.request().url());
    const policy = headers['content-security-policy'].replace(/script-src [^;]*/, "script-src 'none'");
    return route.fulfill({ status, body, headers: { ...headers, 'content-security-policy': policy } });
  });
  await page.goto(at('lti', `/${name}`));
  return page;
}

for (const name of names) {
  await check(`${name}: axe finds nothing`, async context => {
    const page = await open(context, name);
    await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: true });
    await page.evaluate(axe.source);
    const { violations, passes } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
    equal(violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => `${id}: ${html.slice(0, 120)} (${failureSummary})`)), [], 'violations');
    if (passes.length < 10) throw new Error(`only ${passes.length} rules apply: this is no page`);
  });

  await check(`${name}: a keyboard reaches every control, and the focus is seen`, async context => {
    const page = await open(context, name);
    const wanted = await page.evaluate(controls);
    const reached = [];
    for (const control of wanted) {
      await page.keyboard.press('Tab');
      const { control: found, name: element, visible } = await page.evaluate(focused);
      if (found !== undefined && !visible) throw new Error(`the focus of ${element} is not seen`);
      reached.push(found ?? `something else than ${control}: ${element}`);
    }
    equal(reached, wanted, 'controls in the order of the Tab key');
  });
}

await finish();
