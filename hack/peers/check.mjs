// Launches activities the way people do, in a real browser, and judges what appears.
//
//   node check.mjs check.json
//
//   {
//     "platform": "http://lms.localhost:9401",        platform.mjs
//     "handler": "http://lti.localhost:9402",         the launch handler
//     "academy": "http://academy.localhost:9403",     academy.mjs
//     "newWindow": {"name": "working-at-height", "title": "Working safely at height"},     presentation NewWindow
//     "embedded": {"name": "ladder-check", "title": "Ladder check", "formRoles": true},    presentation Embedded
//     "unknownKey": "unknown-key",                    an LTI 1.2 link of the platform with a key the handler does not know
//     "external": {                                   activities of others, each as what its tool must be told:
//       "simulation": {…}, "exam": {…}, "partner": {…}     tool-ltijs.mjs, tool-strict.mjs (an embedded exam), tool-ims.mjs
//       "workshop": {"tool": "rope-workshop"},          tool-ltijs.mjs, which registers itself (check-workshop.mjs)
//       "identityProvider": "http://id.localhost:9406", idp.mjs
//       "people": [{"login": "zoe", "id": "…", …}]       learners of the academy, zoe and ben among them
//     }
//   }
// The names are those of the platform's configuration, the titles those that the academy shows. formRoles: the roles of
// an LTI 1.2 launch are believed; without, everybody is a learner.
//
// SECOND_LTI_URL     address of a second handler with the same store, where a launch is replayed too
// CHECK_REQUIRE_ALL  1: the checks that need SECOND_LTI_URL fail without it (else they are left out)
// CHECK_ARTIFACTS    directory for screenshots (a new temporary one)
// CHECK_ONLY         run only the checks whose text contains this
// CHECK_TRAFFIC      file for the address, the headers and the body of every answer that a browser got
// CHECK_TIMEOUT      milliseconds to wait for one page (15000)
// CHROMIUM           the browser (/usr/bin/chromium)
import { join } from 'node:path';
import { artifacts, assert, check, config, cookieModes, failed, finish, openBrowser, testid, textOf, timeout } from './browser.mjs';
import { checkCookieless } from './check-cookieless.mjs';
import { checkExternal } from './check-external.mjs';
import { checkWorkshop } from './check-workshop.mjs';
import { request, sendHTML, serve } from './web.mjs';

const people = {
  learner: { name: 'Lena Learner', role: 'Learner' },
  teacher: { name: 'Tom Teacher', role: 'Instructor' },
};
/** The reasons for which a repeated launch may be refused; a refusal for another reason proves nothing. */
const usedBefore = ['Replayed', 'LaunchAlreadyUsed'];
const otherBrowser = ['StateNotFromThisBrowser'];

/** No SameSite=Lax cookie goes from one of the three sites to another, while a SameSite=None cookie does. */
async function assertLaxStaysHome(sites) {
  const context = await openBrowser('allowed');
  for (const from of sites) {
    for (const to of sites.filter(site => site !== from)) {
      const page = await context.newPage();
      await page.goto(`${to}/probe/set`);
      await page.goto(`${to}/probe/echo`);
      const home = await textOf(page, 'cookies');
      assert(home === 'probe_lax probe_none', `${to} received "${home}" from itself`);
      await page.goto(`${from}/probe/from?to=${encodeURIComponent(`${to}/probe/echo`)}`);
      const framed = await textOf(page.frameLocator('[data-testid="framed"]'), 'cookies');
      assert(framed === 'probe_none', `${to} in a frame of ${from} received "${framed}"`);
      await testid(page, 'post').click();
      await page.waitForURL(`${to}/probe/echo`);
      const posted = await textOf(page, 'cookies');
      assert(posted === 'probe_none', `${to} received "${posted}" with a form of ${from}`);
      const relation = await textOf(page, 'fetch-site');
      assert(relation === 'cross-site', `the browser calls ${from} to ${to} "${relation}"`);
      await page.close();
    }
  }
}

/** Presses the platform's button; returns where the activity opens: a new top-level page, or the frame in the platform's page. */
async function launch(context, { version, person, place, activity }) {
  const page = await context.newPage();
  await page.goto(config.platform);
  const button = testid(page, `launch-${version}-${person}-${place}-${activity}`);
  if (place === 'window') {
    const [opened] = await Promise.all([context.waitForEvent('page'), button.click()]);
    return opened;
  }
  await button.click();
  await page.waitForURL('**/frame?*');
  return page.frameLocator('[data-testid="tool"]');
}

/** Without scripts every page in between waits for its button to be pressed. */
async function pressThrough(page, limit = 6) {
  for (let pressed = 0; pressed < limit; pressed++) {
    await page.waitForLoadState('load');
    if (page.url().startsWith(config.academy)) return pressed;
    const button = page.locator('form button, form input[type="submit"]').first();
    await button.waitFor({ timeout: 5000 });
    await Promise.all([page.waitForEvent('framenavigated'), button.click()]);
  }
  await page.waitForLoadState('load');
  return limit;
}

/** The learner's name, the activity's title and the role, on the academy's page, under an address without the code. */
async function expectArrived(root, version, person, activity, frame) {
  await root.locator('[data-testid="learner-name"], [data-testid="refused"], [data-reason]').first().waitFor();
  assert(await testid(root, 'learner-name').count() === 1, 'the launch was refused');
  const name = await textOf(root, 'learner-name');
  assert(name === people[person].name, `the academy greets "${name}", not ${people[person].name}`);
  const title = await textOf(root, 'activity');
  assert(title === activity.title, `the academy shows "${title}", not ${activity.title}`);
  const role = await textOf(root, 'role');
  const expected = version === '12' && !activity.formRoles ? 'Learner' : people[person].role;
  assert(role === expected, `the role is "${role}", not ${expected}`);
  const address = await root.locator('body').evaluate(body => body.ownerDocument.location.href);
  assert(new URL(address).origin === new URL(config.academy).origin, `this is not the academy's page but ${address.split('?')[0]}`);
  assert(!address.includes('lti_launch_code'), 'the launch code is still in the address');
  const framed = await root.locator('body').evaluate(body => body.ownerDocument.defaultView.top !== body.ownerDocument.defaultView);
  assert(framed === Boolean(frame), framed ? 'the academy is inside a frame' : 'the academy is not inside the frame');
}

/** The handler's page inside the frame: a real button opens a top-level page. */
async function openNewWindow(context, frame, screenshot) {
  const button = frame.locator('[data-testid="open-in-new-window"], form[target="_blank"] button, a[target="_blank"]').first();
  await button.or(frame.locator('[data-testid="refused"], [data-reason]').first()).first().waitFor();
  if (screenshot) await context.pages().at(-1).screenshot({ path: join(artifacts, screenshot), fullPage: true });
  const [opened] = await Promise.all([context.waitForEvent('page'), button.click({ timeout: 3000 })]);
  return opened;
}

const reasonOf = html => html.match(/data-reason="([^"]+)"/)?.[1]
  ?? html.match(/\b(Replayed|LaunchAlreadyUsed|StateNotFromThisBrowser|ConsumerKeyUnknown)\b/)?.[1];

/** The handler's error page with its reference number. */
async function expectErrorPage(page, status, reason) {
  await page.waitForLoadState('load');
  const code = reasonOf(await page.content());
  assert(code === reason, `the page gives the reason ${code}, not ${reason}`);
  assert(status >= 400 && status < 500, `the status is ${status}`);
  const exact = testid(page, 'reference');
  const reference = await exact.count() > 0 ? await exact.first().innerText()
    : (await page.locator('body').innerText()).match(/reference(?: number)?\W+([0-9a-z-]{4,})/i)?.[1] ?? '';
  assert(reference.trim().length >= 4, 'the page has no reference number');
}

/** Sends a browser's launch once more, byte by byte, from outside the browser. */
function replay(base, launched, { withCookies }) {
  const headers = Object.fromEntries(Object.entries(launched.headers).filter(([name]) =>
    !/^(:.*|connection|content-length|accept-encoding)$/.test(name) && (withCookies || name !== 'cookie')));
  const { host, pathname, search } = new URL(launched.url);
  return request(new URL(pathname + search, base).href, {
    method: 'POST', headers: { ...headers, host, 'content-length': launched.body.length }, body: launched.body,
  });
}

function assertReplayRefused(answer, where, reasons) {
  assert(answer.status >= 400 && answer.status < 500, `${where} answered ${answer.status} instead of refusing`);
  assert(!answer.headers.location && !answer.text.includes('lti_launch_code'), `${where} refused, yet points to the academy`);
  const reason = reasonOf(answer.text);
  assert(reasons.includes(reason), `${where} refused for another reason: ${reason ?? 'none given'}`);
}

/** The browser's POST to the handler's launch address; with hold it never gets there. */
async function captureLaunch(context, version, { hold = false } = {}) {
  const isLaunch = sent => {
    const url = new URL(sent.url());
    return sent.method() === 'POST' && url.origin === new URL(config.handler).origin && url.pathname.endsWith('/launch');
  };
  if (hold) await context.route('**/launch', route => isLaunch(route.request()) ? route.abort() : route.continue());
  const [sent, page] = await Promise.all([
    context.waitForEvent('request', isLaunch),
    launch(context, { version, person: 'learner', place: 'window', activity: config.newWindow.name }),
  ]);
  if (!hold) await expectArrived(page, version, 'learner', config.newWindow);
  return { url: sent.url(), body: sent.postDataBuffer(), headers: hold ? sent.headers() : await sent.allHeaders() };
}

const versions = { 13: 'LTI 1.3', 12: 'LTI 1.2' };
const modes = Object.keys(cookieModes);

await check('the platform, the handler and the academy answer', async () => {
  for (const address of [config.platform, config.handler, config.academy, process.env.SECOND_LTI_URL].filter(Boolean)) {
    await request(address).catch(error => { throw new Error(`${address} does not answer: ${error.message}`); });
  }
});
if (failed > 0) finish();

// Ports do not matter to the question which site a page belongs to, so the handler's site is probed on another port.
const probe = await serve(0, (req, res) => sendHTML(res, 404, 'Not found', ''));
const handlerSite = Object.assign(new URL(config.handler), { port: probe.address().port }).origin;
await check('no SameSite=Lax cookie goes between platform, handler and academy', () =>
  assertLaxStaysHome([config.platform, handlerSite, config.academy]));
probe.close();
probe.closeAllConnections();

for (const cookies of modes) {
  for (const version of ['13', '12']) {
    for (const person of Object.keys(people)) {
      for (const place of ['window', 'frame']) {
        await check(`${versions[version]}, ${person}, ${place}, cookies ${cookies}: ${config.newWindow.title}`, async () => {
          const context = await openBrowser(cookies);
          const opened = await launch(context, { version, person, place, activity: config.newWindow.name });
          const arrived = place === 'window' ? opened : await openNewWindow(context, opened, 'new-window-page.png');
          await expectArrived(arrived, version, person, config.newWindow);
        });
      }
    }
  }
}

for (const cookies of modes) {
  for (const version of ['13', '12']) {
    for (const person of Object.keys(people)) {
      await check(`${versions[version]}, ${person}, embedded in a frame, cookies ${cookies}: ${config.embedded.title}`, async () => {
        const context = await openBrowser(cookies);
        const frame = await launch(context, { version, person, place: 'frame', activity: config.embedded.name });
        await expectArrived(frame, version, person, config.embedded, true);
      });
    }
  }
}

for (const version of ['13', '12']) {
  await check(`${versions[version]}: a launch that was used is refused when it comes again`, async () => {
    const launched = await captureLaunch(await openBrowser(), version);
    if (version === '13') assert(launched.headers.cookie, 'the browser sent no cookie with its launch');
    assertReplayRefused(await replay(config.handler, launched, { withCookies: true }), 'the handler, with the same cookies,',
      usedBefore);
    assertReplayRefused(await replay(config.handler, launched, { withCookies: false }), 'the handler, without cookies,',
      version === '13' ? [...otherBrowser, ...usedBefore] : usedBefore);
  });
  const second = process.env.SECOND_LTI_URL;
  if (second || process.env.CHECK_REQUIRE_ALL === '1') {
    await check(`${versions[version]}: a launch that was used is refused by a second handler`, async () => {
      assert(second, 'SECOND_LTI_URL is not set');
      const launched = await captureLaunch(await openBrowser(), version);
      assertReplayRefused(await replay(second, launched, { withCookies: true }), 'the second handler', usedBefore);
    });
  }
}
await check('LTI 1.3: a launch that never arrived is refused from another browser', async () => {
  const launched = await captureLaunch(await openBrowser(), '13', { hold: true });
  assertReplayRefused(await replay(config.handler, launched, { withCookies: false }), 'the handler', otherBrowser);
});

for (const version of ['13', '12']) {
  await check(`${versions[version]}, window, without JavaScript: the buttons lead to the academy`, async () => {
    const context = await openBrowser('allowed', { javaScriptEnabled: false });
    const page = await launch(context, { version, person: 'learner', place: 'window', activity: config.newWindow.name });
    assert(await pressThrough(page) > 0, 'no button had to be pressed: scripts are on');
    await expectArrived(page, version, 'learner', config.newWindow);
  });
}

await check('one browser, learners A, B, A in turn, somebody else signed in before, third-party cookies blocked: always the right person', async () => {
  const context = await openBrowser('blocked');
  const staff = await context.newPage();
  await staff.goto(`${config.academy}/staff-room`);
  assert(await textOf(staff, 'signed-in') === 'Stella Staff', 'nobody is signed in at the academy');
  const accounts = [];
  for (const [who, place] of [['learner', 'window'], ['teacher', 'frame'], ['learner', 'frame'], ['teacher', 'window'], ['learner', 'window']]) {
    const opened = await launch(context, { version: '13', person: who, place, activity: config.newWindow.name });
    const page = place === 'window' ? opened : await openNewWindow(context, opened);
    await expectArrived(page, '13', who, config.newWindow);
    accounts.push(await textOf(page, 'sub'));
    await staff.goto(config.academy);
    assert(await textOf(staff, 'signed-in') === people[who].name, 'somebody else is signed in at the academy');
  }
  assert(new Set(accounts).size === 2 && accounts[0] === accounts[2] && accounts[0] === accounts[4] && accounts[1] === accounts[3],
    `the accounts are ${accounts.join(', ')}`);
});

await check('one browser, learners A, B, A in three tabs at once: always the right person and activity', async () => {
  const context = await openBrowser('blocked');
  const held = [];
  await context.route(`${config.handler}/**/launch`, route => held.push(route));
  const tabs = [];
  for (const [who, version] of [['learner', '13'], ['teacher', '13'], ['learner', '12']]) {
    const page = await launch(context, { version, person: who, place: 'window', activity: config.newWindow.name });
    tabs.push({ who, version, page });
    for (const started = Date.now(); held.length < tabs.length; await new Promise(resolve => setTimeout(resolve, 10))) {
      assert(Date.now() - started < timeout, 'a launch does not get to the handler');
    }
  }
  for (const n of [2, 0, 1]) {
    await held[n].continue();
    await expectArrived(tabs[n].page, tabs[n].version, tabs[n].who, config.newWindow);
  }
  // What A's tab sends now that B has signed in must not become B's.
  await tabs[0].page.locator('input[name="given"]').fill('1');
  await testid(tabs[0].page, 'report').click();
  assert((await textOf(tabs[0].page, 'refused')).includes('Somebody else'), "what A's tab sent was taken for B's");
});

await check('a sign-in that was used, or is from another browser, is refused', async () => {
  const context = await openBrowser('blocked');
  const requests = [];
  context.on('request', sent => requests.push(sent.url()));
  const page = await launch(context, { version: '13', person: 'learner', place: 'window', activity: config.newWindow.name });
  await expectArrived(page, '13', 'learner', config.newWindow);
  const begun = requests.find(url => url.startsWith(`${config.academy}/sign-in`));
  const ended = requests.find(url => url.startsWith(`${config.academy}/callback`));
  assert(begun && ended, 'the sign-in did not go over OpenID Connect');
  for (const [where, address] of [[context, begun], [context, ended], [await openBrowser('blocked'), begun]]) {
    const again = await where.newPage();
    await again.goto(address);
    assert(await testid(again, 'refused').count() === 1, `${new URL(address).pathname} works twice`);
    await again.close();
  }
  // A handle that nobody has used yet, in another browser.
  let fresh;
  await context.route(`${config.handler}/**/launch`, async route => {
    const sent = route.request();
    const headers = { ...sent.headers(), 'sec-fetch-dest': 'document' };
    fresh = (await replay(config.handler, { url: sent.url(), body: sent.postDataBuffer(), headers }, { withCookies: false })).headers.location ?? '';
    await route.abort();
  });
  await launch(context, { version: '12', person: 'learner', place: 'window', activity: config.newWindow.name });
  for (const started = Date.now(); fresh === undefined; await new Promise(resolve => setTimeout(resolve, 10))) {
    assert(Date.now() - started < timeout, 'a launch does not get to the handler');
  }
  assert(fresh.startsWith(`${config.academy}/sign-in?`), 'the launch did not lead to the sign-in');
  const thief = await (await openBrowser('blocked')).newPage();
  await thief.goto(fresh);
  assert((await textOf(thief, 'refused')).includes('login_required'), 'the handle of a launch works in another browser');
});

await check('a learner whose address is taken signs in once at the academy, and is connected; third-party cookies blocked', async () => {
  const context = await openBrowser('blocked');
  const open = () => launch(context, { version: '13', person: 'guest', place: 'frame', activity: config.newWindow.name });
  const frame = await open();
  const button = testid(frame, 'connect');
  await button.waitFor();
  assert(await frame.locator('[data-reason="EmailInUse"]').count() === 1, 'the page does not say that the address is taken');
  await context.pages().at(-1).screenshot({ path: join(artifacts, 'email-in-use-page.png'), fullPage: true });
  const [page] = await Promise.all([context.waitForEvent('page'), button.click()]);
  await page.locator('input[name="login"]').fill('gus');
  await page.locator('input[name="password"]').fill('any');
  await page.locator('button[type="submit"]').click();
  // The provider asks whether the launch handler may know who it is.
  const consent = page.locator('form button[type="submit"]');
  await consent.or(testid(page, 'learner-name')).first().waitFor();
  if (await consent.count() > 0 && !page.url().startsWith(config.academy)) await consent.first().click();
  await testid(page, 'learner-name').waitFor();
  assert(await textOf(page, 'learner-name') === 'Gus Guest', 'somebody else is signed in');
  const account = await textOf(page, 'sub');
  const again = await openNewWindow(context, await open());
  assert(await textOf(again, 'sub') === account, 'the next launch leads to another account');
});

/** Reports with the form on the academy's page. */
async function report(page, fields) {
  const before = Number(await textOf(page, 'reported'));
  for (const [name, value] of Object.entries(fields)) {
    const input = page.locator(`input[name="${name}"]`);
    if (value === true) await input.check();
    else await input.fill(String(value));
  }
  await testid(page, 'report').click();
  await page.waitForFunction(count => Number(document.querySelector('[data-testid="reported"]')?.textContent) === count, before + 1);
}

/** The learner's grades for one activity in both gradebooks. */
async function gradesOf(user) {
  const all = JSON.parse((await request(`${config.platform}/grades`)).text);
  return ['13', '12'].map(version => Object.entries(all).find(([key]) => key.startsWith(`${version} `) && key.endsWith(` ${user}`))?.[1]);
}

async function expectGrades(value, within) {
  const started = Date.now();
  for (;;) {
    const found = await gradesOf('17');
    if (found.every(grade => grade === value)) return Date.now() - started;
    assert(Date.now() - started < within, `after ${within} ms the gradebooks hold ${JSON.stringify(found)}, not ${value}`);
    await new Promise(resolve => setTimeout(resolve, 10));
  }
}

await check('grades: 8 of 10 stands in the gradebooks of LTI 1.3 and 1.2 within a second, and only what is newer changes it', async () => {
  const context = await openBrowser();
  let page;
  for (const version of ['13', '12']) {
    page = await launch(context, { version, person: 'learner', place: 'window', activity: config.newWindow.name });
    await expectArrived(page, version, 'learner', config.newWindow);
  }
  await report(page, { given: 8, maximum: 10, completed: true });
  console.log(`# both gradebooks had it after ${await expectGrades(0.8, 1000)} ms`);
  await report(page, { given: 3, maximum: 10, ago: 60 }); // older
  await report(page, { percent: 10 }); // a finished course is opened again
  await new Promise(resolve => setTimeout(resolve, 1500));
  assert((await gradesOf('17')).every(grade => grade === 0.8), 'an older score or a re-opened course changed the grade');
  await report(page, { given: 0, maximum: 10 });
  await expectGrades(0, 3000);
});

await check('LTI 1.2: an unknown consumer key gets a page with a reference number', async () => {
  const context = await openBrowser();
  const answered = context.waitForEvent('response', response =>
    response.request().method() === 'POST' && response.url().startsWith(config.handler));
  const page = await launch(context, { version: '12', person: 'learner', place: 'window', activity: config.unknownKey });
  await page.waitForURL(url => url.href.startsWith(config.handler));
  await expectErrorPage(page, (await answered).status(), 'ConsumerKeyUnknown')
    .finally(() => page.screenshot({ path: join(artifacts, 'error-page.png'), fullPage: true }));
});

await checkCookieless({ expectArrived, openNewWindow, pressThrough });
await checkExternal();
if (config.external?.workshop) await checkWorkshop();

finish();
