// Judges the page in which our learners see an activity of others (ToolFrame in internal/pages), in a real browser: how
// the frame is filled, and whom its platform storage answers.
//
//   node storage-check.mjs PORT
//
// PORT is where toolframe_browser_test.go in internal/pages serves lti.localhost (ourselves), tool.localhost and
// tool2.localhost (the tool's two origins), academy.localhost and other.localhost (a stranger).
import { at, check, equal, finish } from './pages.mjs';

/** How long somebody listens before we believe that no answer comes; answers come within a few milliseconds. */
const patience = 400;

/** Opens our page; tool is its frame. The page counts the messages that reach it. */
async function open(context, variant = '') {
  const page = await context.newPage();
  const complaints = [];
  page.on('console', message => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', error => complaints.push(error.message));
  await page.goto(at('lti', `/callback?code=one-time&variant=${variant}`));
  await page.evaluate(() => {
    window.reached = 0;
    window.addEventListener('message', () => window.reached++);
  });
  return { page, complaints, tool: page.frame({ name: 'tool' }) };
}

/** Sends a message from a frame or page to one of its windows and returns what comes back; null when nothing does. */
const ask = (from, message, to = 'parent') => from.evaluate(([message, to, patience]) => new Promise(resolve => {
  const timer = setTimeout(() => resolve(null), patience);
  window.addEventListener('message', event => {
    clearTimeout(timer);
    resolve({ from: event.origin, ...event.data });
  }, { once: true });
  (to === 'opener' ? window.opener.parent : window[to]).postMessage(message, '*');
}), [message, to, patience]);

let lastID = 0;
const put = (from, key, value, to) => ask(from, { subject: 'lti.put_data', message_id: `m${++lastID}`, key, value }, to);
const get = (from, key, to) => ask(from, { subject: 'lti.get_data', message_id: `m${++lastID}`, key }, to);

/** The message reaches our page, and nobody is answered; the tool still is. */
async function expectSilence({ page, tool }, from, to) {
  await put(tool, 'secret', 'of the tool');
  const before = await page.evaluate(() => window.reached);
  for (const subject of ['lti.capabilities', 'lti.get_data', 'lti.put_data', 'lti.unheard_of']) {
    equal(await ask(from, { subject, message_id: 'm', key: 'secret', value: 'of a stranger' }, to), null, `an answer to ${subject}`);
  }
  equal(await ask(from, { subject: 'lti.close' }, to), null, 'an answer to lti.close');
  equal(await page.evaluate(() => window.reached) - before, 5, 'messages that reached the page');
  equal(page.url(), at('lti', '/activities/first-aid/start'), 'the page after lti.close');
}

await check('the tool is in a named frame below the title, and the page violates no policy of its own', async context => {
  const { page, tool, complaints } = await open(context);
  await tool.waitForSelector('h1');
  equal(tool.url(), at('tool', '/login?login_hint=1'), 'the address in the frame');
  equal(await page.locator('h1').innerText(), 'First aid & more', 'the heading');
  equal(await page.locator('iframe').getAttribute('title'), 'First aid & more', "the frame's title");
  const [box, size] = [await page.locator('iframe').boundingBox(), page.viewportSize()];
  equal([box.width, Math.round(box.y + box.height)], [size.width, size.height], 'the right and lower edge of the frame');
  await tool.evaluate(() => new Promise(resolve => setTimeout(resolve, 100)));
  equal(complaints.filter(text => !text.includes('favicon')), [], 'complaints of the browser');
});

await check('the address bar holds nothing that works once', async context => {
  const { page } = await open(context);
  equal(page.url(), at('lti', '/activities/first-aid/start'), 'the address');
  await page.reload();
  equal(await page.locator('[data-testid="open-in-new-window"]').count(), 1, 'start pages after a reload');
});

await check('the frame has what exams need, on the origins of the tool only', async context => {
  const { tool } = await open(context);
  const features = ['autoplay', 'camera', 'clipboard-write', 'display-capture', 'encrypted-media', 'fullscreen', 'microphone'];
  const allowed = frame => frame.evaluate(features => features.filter(name => document.featurePolicy.allowsFeature(name)), features);
  await tool.waitForSelector('h1');
  equal(await allowed(tool), features, 'what the tool may use');
  await tool.goto(at('other'));
  equal((await allowed(tool)).filter(name => name === 'camera' || name === 'microphone'), [], 'what a stranger may use');
});

await check('storage: capabilities, put, get, overwrite, delete', async context => {
  const { tool } = await open(context);
  const offered = await ask(tool, { subject: 'lti.capabilities', message_id: 'm0' });
  equal(offered, {
    from: at('lti', ''), subject: 'lti.capabilities.response', message_id: 'm0',
    supported_messages: ['lti.capabilities', 'lti.put_data', 'lti.get_data', 'lti.frameResize', 'lti.close'].map(subject => ({ subject })),
  }, 'capabilities');
  equal(await ask(tool, { subject: 'lti.put_data', message_id: 'm1', key: 'lti_state_1', value: 'état' }),
    { from: at('lti', ''), subject: 'lti.put_data.response', message_id: 'm1', key: 'lti_state_1', value: 'état' }, 'put');
  equal(await ask(tool, { subject: 'lti.get_data', message_id: 7, key: 'lti_state_1' }),
    { from: at('lti', ''), subject: 'lti.get_data.response', message_id: 7, key: 'lti_state_1', value: 'état' }, 'get');
  await put(tool, 'lti_state_1', '');
  equal((await get(tool, 'lti_state_1')).value, '', 'an empty value');
  await tool.goto(at('tool', '/launch')); // as the launch does after the login
  equal((await get(tool, 'lti_state_1')).value, '', 'the value after the launch');
  await put(tool, 'lti_state_1', null);
  equal((await get(tool, 'lti_state_1')).value, null, 'a deleted value');
  equal((await get(tool, '__proto__')).value, null, 'a value that nobody stored');
  equal((await ask(tool, { subject: 'org.imsglobal.lti.get_data', message_id: 'm', key: 'x' })).subject,
    'org.imsglobal.lti.get_data.response', 'the answer to a draft');
});

await check('storage: each origin of the tool has its own', async context => {
  const { tool } = await open(context);
  await put(tool, 'k', 'first');
  await tool.goto(at('tool2', '/launch'));
  equal((await get(tool, 'k')).value, null, 'what the second origin finds');
  await put(tool, 'k', 'second');
  await tool.goto(at('tool', '/launch'));
  equal((await get(tool, 'k')).value, 'first', 'what the first origin finds');
});

await check('storage: a stranger in the frame itself is not answered', async context => {
  const opened = await open(context);
  await put(opened.tool, 'secret', 'of the tool');
  await opened.tool.goto(at('other'));
  equal(await get(opened.tool, 'secret'), null, 'an answer');
  equal(await ask(opened.tool, { subject: 'lti.capabilities', message_id: 'm' }), null, 'an answer');
  equal(await opened.page.evaluate(() => window.reached), 3, 'messages that reached the page');
});

for (const [who, host] of [['a stranger', 'other'], ["the tool's own page", 'tool']]) {
  await check(`storage: ${who} in a frame inside the tool's is not answered`, async context => {
    const opened = await open(context);
    await opened.tool.goto(at('tool', `/launch?inner=${encodeURIComponent(at(host))}`));
    await expectSilence(opened, opened.tool.childFrames()[0], 'top');
    equal((await get(opened.tool, 'secret')).value, 'of the tool', 'what the tool stored');
  });
}

await check('storage: a window that the tool opened is not answered', async context => {
  const opened = await open(context);
  const [popup] = await Promise.all([
    context.waitForEvent('page'), opened.tool.evaluate(address => void window.open(address), at('tool', '/popup')),
  ]);
  await popup.waitForLoadState();
  await expectSilence(opened, popup, 'opener');
});

await check('storage: 500 keys of 4096 bytes and no more', async context => {
  const { tool } = await open(context);
  equal((await put(tool, 'k', 'x'.repeat(4096))).error, undefined, 'an error for 4096 bytes');
  equal((await get(tool, 'k')).value.length, 4096, 'the length of the value');
  for (const [key, value] of [['k', 'x'.repeat(4097)], ['k', 'é'.repeat(2049)], ['x'.repeat(4097), 'v']]) {
    equal((await put(tool, key, value)).error?.code, 'storage_exhaustion', 'an error for more');
  }
  equal((await get(tool, 'k')).value, 'x'.repeat(4096), 'the value after a refusal');
  for (let n = 1; n < 500; n++) equal((await put(tool, `k${n}`, 'v')).error, undefined, `an error for key ${n + 1}`);
  equal((await put(tool, 'one more', 'v')).error?.code, 'storage_exhaustion', 'an error for key 501');
  equal((await put(tool, 'k1', 'new')).error, undefined, 'an error for a key that is there');
  await put(tool, 'k2');
  equal((await put(tool, 'one more', 'v')).error, undefined, 'an error after a deletion');
  await tool.goto(at('tool2'));
  equal((await put(tool, 'k', 'v')).error, undefined, 'an error at the other origin');
});

await check('storage: what cannot be answered is refused, and what asks for no answer gets none', async context => {
  const { tool } = await open(context);
  for (const [message, code] of [
    [{ subject: 'lti.unheard_of' }, 'unsupported_subject'], [{ subject: 'lti.put_data', value: 'v' }, 'bad_request'],
    [{ subject: 'lti.put_data', key: 1, value: 'v' }, 'bad_request'], [{ subject: 'lti.put_data', key: 'k', value: { a: 1 } }, 'bad_request'],
    [{ subject: 'lti.get_data', key: '' }, 'bad_request'], [{ subject: 'lti.frameResize', height: 'tall' }, 'bad_request'],
  ]) {
    const answer = await ask(tool, { ...message, message_id: 'm' });
    equal([answer?.error?.code, answer?.subject], [code, `${message.subject}.response`], JSON.stringify(message));
  }
  for (const message of [
    { subject: 'lti.capabilities' }, { subject: 'lti.put_data', message_id: '', key: 'k', value: 'v' }, 'not JSON', null,
    { subject: 'of something else', message_id: 'm' }, { subject: 'toString', message_id: 'm' }, { message_id: 'm' },
  ]) equal(await ask(tool, message), null, `an answer to ${JSON.stringify(message)}`);
  equal((await get(tool, 'k')).value, null, 'what was stored all the same');
});

await check('lti.frameResize makes the frame grow, within reason', async context => {
  const { page, tool } = await open(context);
  const height = async () => (await page.locator('iframe').boundingBox()).height;
  const atFirst = await height();
  equal((await ask(tool, { subject: 'lti.frameResize', message_id: 'm', height: 2000 })).height, 2000, 'the answer');
  equal(await height(), 2000, 'the height');
  await ask(tool, JSON.stringify({ subject: 'lti.frameResize', height: '2500px' }));
  equal(await height(), 2500, 'the height that was sent as JSON');
  await ask(tool, { subject: 'lti.frameResize', height: 1e9 });
  equal(await height(), 20000, 'the largest height');
  await ask(tool, { subject: 'lti.frameResize', height: -5 });
  equal(await height(), 20000, 'the height after a wrong one');
  await ask(tool, { subject: 'lti.frameResize', height: 10 });
  equal(await height(), atFirst, 'the smallest height');
});

for (const subject of ['lti.close', 'org.imsglobal.lti.close']) {
  await check(`${subject} leads back to the academy`, async context => {
    const { page, tool } = await open(context);
    await tool.evaluate(subject => window.parent.postMessage({ subject }, '*'), subject);
    await page.waitForURL(at('academy', '/courses/7'));
  });
}

await check('lti.close leads nowhere when there is no place', async context => {
  const { page, tool } = await open(context, 'no-return');
  equal((await ask(tool, { subject: 'lti.close', message_id: 'm' })).error, undefined, 'an error');
  await get(tool, 'k');
  equal(page.url(), at('lti', '/activities/first-aid/start'), 'the address');
});

await check('the link leads back to the academy', async context => {
  const { page } = await open(context);
  await page.getByRole('link', { name: 'Back to the academy' }).click();
  await page.waitForURL(at('academy', '/courses/7'));
});

await check('a form fills the frame by itself', async context => {
  const { page, tool } = await open(context, 'form');
  await tool.waitForSelector('#posted');
  equal(tool.url(), at('tool', '/lti'), 'the address in the frame');
  equal(new URLSearchParams(await tool.locator('#posted').innerText()).get('submit'), '"quoted" & <tagged>', 'the field');
  equal(await page.getByRole('button').count(), 0, 'buttons');
  equal((await put(tool, 'k', 'v')).error, undefined, 'an error');
});

await check('without JavaScript the frame shows the tool', async context => {
  const page = await context.newPage();
  await page.goto(at('lti', '/callback'));
  await page.frameLocator('iframe').getByRole('heading', { name: 'tool.localhost' }).waitFor();
}, { javaScriptEnabled: false });

await check('without JavaScript a button fills the frame', async context => {
  const page = await context.newPage();
  await page.goto(at('lti', '/callback?variant=form'));
  await page.getByRole('button', { name: 'Open the activity' }).click();
  await page.frameLocator('iframe').getByRole('heading', { name: 'tool.localhost' }).waitFor();
  equal(context.pages().length, 1, 'windows');
}, { javaScriptEnabled: false });

await check('what the page may not frame stays out', async context => {
  const { page, complaints } = await open(context, 'https-only');
  await page.waitForLoadState();
  equal(complaints.some(text => text.includes('frame-src')), true, 'a complaint about frame-src');
  equal(page.frames().some(frame => frame.url().startsWith(at('tool'))), false, 'the tool is there');
});

await check('inside a frame, a link opens the start page in a window of its own', async context => {
  const page = await context.newPage();
  await page.goto(at('other', `/?inner=${encodeURIComponent(at('lti', '/activities/first-aid/start'))}`));
  const link = page.frameLocator('iframe').getByRole('link', { name: 'Open the activity in a new window' });
  for (let n = 0; n < 2; n++) {
    const [opened] = await Promise.all([context.waitForEvent('page'), link.click()]);
    await opened.waitForLoadState();
    equal([opened.url(), await opened.evaluate(() => window.opener)], [at('lti', '/activities/first-aid/start'), null], 'the window');
  }
});

await check("a tool's request in the frame comes again from our own page, with our cookie", async context => {
  const { page, tool } = await open(context);
  await page.goto(at('lti', '/activities/first-aid/start')); // sets the cookie
  await page.goto(at('lti', '/callback'));
  const frame = page.frame({ name: 'tool' });
  await frame.waitForSelector('h1');
  const posts = [];
  page.on('request', request => request.method() === 'POST' && posts.push(request.postData()));
  await frame.evaluate(action => {
    const form = document.body.appendChild(document.createElement('form'));
    form.method = 'post';
    form.action = action;
    form.innerHTML = '<input name="state" value="a b&amp;c">';
    form.submit();
  }, at('lti', '/authorize'));
  await frame.waitForSelector('h1:text("authorize")');
  equal(posts.length, 2, 'requests');
  equal(await frame.locator('#cookies').innerText(), 'session=1', 'the cookie');
  equal(await frame.locator('#posted').innerText(), 'reposted=1&state=a+b%26c', 'the fields');
});

await finish();
