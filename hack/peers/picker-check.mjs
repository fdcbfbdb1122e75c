// Chooses activities from the list that teachers of other systems see (Picker in internal/pages), in a real browser: in a
// frame, without JavaScript, without cookies, with the keyboard alone.
//
//   node picker-check.mjs PORT [DIRECTORY]
//
// PORT is where choice_browser_test.go in internal/handler serves lti.localhost (ourselves) and lms.localhost (the other
// system). Screenshots go to DIRECTORY.
//
// CHROMIUM           the browser (/usr/bin/chromium)
import { mkdirSync } from 'node:fs';
import { at, check as checkPage, equal, finish } from './pages.mjs';

const directory = process.argv[3];
if (directory) mkdirSync(directory, { recursive: true });

const check = (text, run, options = {}) => checkPage(text, async context => {
  await run(context);
  equal((await context.cookies()).length, 0, 'cookies');
}, { javaScriptEnabled: false, ...options });

/** Opens a list in the frame of the other system. */
async function open(context, name) {
  const page = await context.newPage();
  const complaints = [];
  page.on('console', message => message.type() === 'error' && complaints.push(message.text()));
  await page.goto(at('lms', `/list/${name}`));
  await frame(page).waitForSelector('[data-testid=found]');
  const shot = async what => directory && page.screenshot({ path: `${directory}/picker-${name}-${what}.png` });
  return { page, complaints, shot };
}

const frame = page => page.frame({ name: 'tool' });

/** What has the focus in the frame, and whether that can be seen. */
const focus = page => frame(page).evaluate(() => {
  const e = document.activeElement;
  const style = getComputedStyle(e);
  return {
    at: e.dataset.testid ?? (e.type === 'checkbox' || e.type === 'radio' ? e.value : e.id),
    visible: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
  };
});

/** Goes on with the key until something has the focus, and fails if that cannot be seen on the way. */
async function to(page, wanted, key = 'Tab') {
  const seen = [];
  for (let n = 0; n < 60; n++) {
    await page.keyboard.press(key);
    const { at, visible } = await focus(page);
    if (at && !visible) throw new Error(`the focus on ${at} cannot be seen`);
    seen.push(at);
    if (at === wanted) return seen;
  }
  throw new Error(`${wanted} has no place in the order ${seen.join(' ')}`);
}

/** Presses a key that loads the next page in the frame. */
async function load(page, key) {
  await Promise.all([page.waitForEvent('framenavigated'), page.keyboard.press(key)]);
  await frame(page).waitForLoadState();
}

const found = page => frame(page).textContent('[data-testid=found]');

await check('several activities, across two searches', async context => {
  const { page, complaints, shot } = await open(context, 'many');
  await shot('first');
  equal(await found(page), '48 activities found, page 1 of 3', 'found');
  equal(await to(page, 'query'), ['query'], 'focus order');
  await page.keyboard.type('CAFE');
  await load(page, 'Enter');
  equal(await found(page), '1 activity found', 'found');
  // Reading goes on at the list, not at the top.
  equal(await to(page, 'cafe'), ['cafe'], 'focus order after the search');
  await page.keyboard.press('Space');
  await to(page, 'query', 'Shift+Tab');
  await page.keyboard.press('Control+A');
  await page.keyboard.type('ladder check');
  await load(page, 'Enter');
  equal(await to(page, 'ladder'), ['cafe', 'ladder'], 'focus order with something chosen');
  await page.keyboard.press('Space');
  await shot('chosen');
  equal(await to(page, 'add'), ['add'], 'focus order');
  await load(page, 'Enter');
  await page.keyboard.press('Tab'); // the button of the page that goes on by itself where there is JavaScript
  await load(page, 'Enter');
  await frame(page).waitForSelector('#back');
  equal(complaints, [], 'complaints');
});

await check('one activity, of a further page', async context => {
  const { page, complaints, shot } = await open(context, 'one');
  await to(page, 'add');
  await load(page, 'Enter');
  const problem = await frame(page).textContent('#problem');
  equal(problem.trim(), 'Er is niets toegevoegd: kies eerst een activiteit.', 'problem');
  equal(await frame(page).getAttribute('fieldset', 'aria-describedby'), 'problem', 'what the problem is tied to');
  await shot('problem');
  await to(page, 'next');
  await load(page, 'Enter');
  equal(await found(page), '48 activiteiten gevonden, pagina 2 van 3', 'found');
  await to(page, 'course-21');
  await page.keyboard.press('Space');
  await to(page, 'previous');
  await load(page, 'Enter');
  await to(page, 'course-21');
  await page.keyboard.press('ArrowDown'); // course-01
  await page.keyboard.press('ArrowDown');
  equal((await focus(page)).at, 'course-02', 'focus');
  await shot('chosen');
  await to(page, 'add');
  await load(page, 'Enter');
  await page.keyboard.press('Tab');
  await load(page, 'Enter');
  await frame(page).waitForSelector('#back');
  equal(complaints, [], 'complaints');
}, { locale: 'nl-NL' });

await check('back without an activity', async context => {
  const { page } = await open(context, 'cancel');
  await to(page, 'cancel');
  await load(page, 'Enter');
  await page.keyboard.press('Tab');
  await load(page, 'Enter');
  await frame(page).waitForSelector('#back');
}, { locale: 'nl-NL' });

for (const [what, options] of Object.entries({
  narrow: { viewport: { width: 320, height: 640 } },
  dark: { colorScheme: 'dark' },
})) {
  await check(`the page is whole: ${what}`, async context => {
    const { page, shot } = await open(context, 'look');
    await shot(what);
    const size = await frame(page).evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    if (size[0] > size[1]) throw new Error(`${size[0]} pixels wide in ${size[1]}`);
    const small = await frame(page).evaluate(() => [...document.querySelectorAll('button,input:not([type=hidden]),select')]
      .filter(e => e.getBoundingClientRect().height < 24 || e.getBoundingClientRect().width < 24).map(e => e.outerHTML));
    equal(small, [], 'targets that are too small');
  }, options);
}

await finish();
