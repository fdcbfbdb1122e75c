// Judges the pages by which we, as a tool, use another system's platform storage (LeaveAtPlatform and AskPlatform in
// internal/pages), in a real browser: whom they talk to, whom they believe, and how they go on without.
//
//   node tool-storage-check.mjs PORT
//
// PORT is where storage_browser_test.go in internal/pages serves lti.localhost (ourselves), lms.localhost (the platform) and
// other.localhost (a stranger).
import { at, check, equal, finish } from './pages.mjs';

/** Runs in a page: answers questions as a platform does, and keeps what it heard in window.heard. */
const answerAs = ({ frame, silent = [], prefix = '', answer = {}, id, passTo }) => {
  const stored = window.stored = {};
  window.heard = [];
  addEventListener('message', ({ data, source, origin }) => {
    window.heard.push(`${data.subject} ${origin}`);
    if (passTo) document.querySelector(`iframe[name="${passTo}"]`)?.contentWindow.postMessage({ ...data, from: 'tool' }, '*');
    const name = data.subject.replace('org.imsglobal.', '');
    if (silent.includes(name)) return;
    const supported = ['lti.capabilities', 'lti.put_data', 'lti.get_data'].map(subject => ({ subject: prefix + subject, ...(frame && { frame }) }));
    const answers = {
      'lti.capabilities': () => ({ supported_messages: supported }),
      'lti.put_data': () => ({ key: data.key, value: stored[data.key] = data.value }),
      'lti.get_data': () => ({ key: data.key, value: stored[data.key] ?? 'kept secret' }),
    };
    source.postMessage({ subject: `${prefix}${name}.response`, message_id: id ?? data.message_id, ...answers[name]?.(), ...answer[name] }, origin);
  });
};

/** Opens a page of a system that answers like this; frames are others beside ours. */
async function open(context, host, how, frames = {}) {
  const page = await context.newPage();
  await page.goto(at(host, '/'));
  for (const [name, [frameHost, frameHow]] of Object.entries(frames)) {
    await embed(page, name, at(frameHost, '/'));
    await page.frame({ name }).evaluate(frameHow.call ?? answerAs, frameHow.call ? undefined : frameHow);
  }
  await page.evaluate(answerAs, how);
  return page;
}

async function embed(page, name, address) {
  await page.evaluate(([name, address]) => new Promise(resolve => {
    const frame = document.createElement('iframe');
    Object.assign(frame, { name, src: address, title: name, onload: resolve });
    document.body.append(frame);
  }), [name, address]);
}

/** Shows our page in it, and returns the frame as soon as it has gone on, with the milliseconds it took to decide that. */
async function goThrough(page, path, end) {
  let started, took;
  const note = request => {
    if (request.url() === at('lti', path)) started = Date.now();
    else if (end.includes(request.url().split('?')[0])) took ??= Date.now() - started;
  };
  page.on('request', note);
  await embed(page, 'ours', at('lti', path));
  const frame = page.frame({ name: 'ours' });
  await frame.waitForURL(url => end.includes(url.origin + url.pathname));
  await frame.waitForSelector('#posted', { state: 'attached' });
  page.off('request', note);
  return { frame, took };
}

const posted = async frame => Object.fromEntries(new URLSearchParams(await frame.locator('#posted').innerText()));
const leave = (target = '_parent') => `/leave?target=${target}`;
const ask = (target = '_parent') => `/ask?target=${target}`;
const next = at('lms', '/authorize');
const otherwise = at('lti', '/otherwise');
const judge = at('lti', '/judge');
const heard = (page, where = page) => where.evaluate(() => window.heard);

/** Leaves the secret, and finds it where it should be. */
async function expectLeft(page, where, target) {
  const { frame } = await goThrough(page, leave(target), [next, otherwise]);
  equal(frame.url().split('?')[0], next, 'the address it goes on to');
  equal(await where.evaluate(() => window.stored), { lti_state_1: 's3cret' }, 'what is stored');
}

/** Asks for it, and posts what it got. */
async function expectAsked(page, target, answer) {
  const { frame } = await goThrough(page, ask(target), [judge]);
  equal(await posted(frame), { id_token: 't', state: 's1.x', stored_secret: answer }, 'what is posted');
  equal(await frame.locator('#from').innerText(), `same-origin ${at('lti', '')}`, 'where the browser says it is from');
}

/** Nobody answers: a second is waited for, not much more, and the form is posted. */
async function expectNothing(page) {
  const { frame, took } = await goThrough(page, leave(), [next, otherwise]);
  equal(frame.url().split('?')[0], otherwise, 'the address it goes on to');
  equal(await posted(frame), { login_hint: '4', lti_message_hint: '"quoted" & <tagged>' }, 'what is posted');
  if (took < 1000 || took > 4000) throw new Error(`it took ${took} ms`);
  await page.evaluate(() => document.querySelector('iframe[name="ours"]').remove());
  await expectAsked(page, '_parent', '');
}

await check('the window around the page stores', async context => {
  const page = await open(context, 'lms', {});
  await expectLeft(page, page, '_parent');
  await page.evaluate(() => document.querySelector('iframe[name="ours"]').remove());
  await expectAsked(page, '_parent', 's3cret');
  equal((await heard(page)).filter(text => !text.endsWith(at('lti', ''))), [], 'messages of others');
});

await check('the frame that the login names stores', async context => {
  const page = await open(context, 'lms', { silent: ['lti.capabilities', 'lti.put_data', 'lti.get_data'] }, { forwarding: ['lms', {}] });
  await expectLeft(page, page.frame({ name: 'forwarding' }), 'forwarding');
  await page.evaluate(() => document.querySelector('iframe[name="ours"]').remove());
  await expectAsked(page, 'forwarding', 's3cret');
});

await check('the frame that the capabilities name stores', async context => {
  const page = await open(context, 'lms', { frame: 'forwarding', silent: ['lti.put_data', 'lti.get_data'] }, { forwarding: ['lms', {}] });
  await expectLeft(page, page.frame({ name: 'forwarding' }), '_parent');
});

await check('a platform of the drafts stores', async context => {
  const page = await open(context, 'lms', { prefix: 'org.imsglobal.' });
  await expectLeft(page, page, '_parent');
});

await check('the window that opened the page stores', async context => {
  const page = await open(context, 'lms', {});
  const [popup] = await Promise.all([context.waitForEvent('page'), page.evaluate(address => void window.open(address), at('lti', leave()))]);
  await popup.waitForURL(url => url.href.startsWith(next));
  equal(await page.evaluate(() => window.stored), { lti_state_1: 's3cret' }, 'what is stored');
});

await check('a name that is no frame does no harm', async context => {
  for (const name of ['none', 'location', '__proto__', 'constructor']) {
    const page = await open(context, 'lms', {});
    const { frame } = await goThrough(page, leave(name), [next, otherwise]);
    equal([name, frame.url().split('?')[0]], [name, otherwise], 'the address it goes on to');
    await page.close();
  }
});

await check('a platform that is silent, refuses or knows nothing is waited for a second', async context => {
  const nothing = { silent: ['lti.capabilities', 'lti.put_data', 'lti.get_data'] };
  const refusal = { error: { code: 'storage_exhaustion', message: 'full' } };
  for (const how of [nothing, { answer: { 'lti.put_data': refusal, 'lti.get_data': refusal } }]) {
    const page = await open(context, 'lms', how);
    await expectNothing(page);
    await page.close();
  }
  const page = await open(context, 'lms', { answer: { 'lti.get_data': { value: null } } });
  await expectAsked(page, '_parent', '');
});

await check('answers to something else are none', async context => {
  for (const how of [{ id: 'another' }, { answer: { 'lti.put_data': { subject: 'lti.get_data.response' }, 'lti.get_data': { subject: 'lti.put_data.response' } } }]) {
    const page = await open(context, 'lms', how);
    await expectNothing(page);
    await page.close();
  }
});

await check('a stranger around the page hears of no key and no secret, and is not believed', async context => {
  const page = await open(context, 'other', { frame: 'inner' }, { inner: ['other', {}] });
  await expectNothing(page);
  const [outside, inside] = [await heard(page), await heard(page, page.frame({ name: 'inner' }))];
  equal([...new Set(outside), ...inside], [`lti.capabilities ${at('lti', '')}`], 'what the stranger heard');
});

await check('a stranger beside the page that knows the question is not believed', async context => {
  // The platform does not answer, and tells the stranger all that it hears.
  const stranger = () => addEventListener('message', ({ data }) => {
    window.parent.frames.ours.postMessage({
      subject: `${data.subject}.response`, message_id: data.message_id, key: data.key, value: 'of the stranger',
    }, '*');
    window.answered = (window.answered ?? 0) + 1;
  });
  const page = await open(context, 'lms', { silent: ['lti.capabilities', 'lti.put_data', 'lti.get_data'], passTo: 'stranger' }, { stranger: ['other', { call: stranger }] });
  await expectNothing(page);
  const answered = await page.frame({ name: 'stranger' }).evaluate(() => window.answered);
  equal(answered, 4, 'answers of the stranger'); // capabilities and data, twice
});

await check('in a window of its own nobody is waited for', async context => {
  const page = await context.newPage();
  await page.clock.install(); // no second passes
  await page.goto(at('lti', leave()));
  await page.waitForURL(otherwise);
});

await check('without JavaScript a button goes on', async context => {
  for (const [path, end] of [[leave(), otherwise], [ask(), judge]]) {
    const page = await context.newPage();
    await page.goto(at('other', `/?inner=${encodeURIComponent(at('lti', path))}`));
    await page.frameLocator('iframe').getByRole('button', { name: 'Continue' }).click();
    await page.frameLocator('iframe').locator('#posted').waitFor({ state: 'attached' });
    equal(page.frames()[1].url(), end, 'the address it goes on to');
  }
}, { javaScriptEnabled: false });

await finish();
