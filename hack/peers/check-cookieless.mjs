// The checks of launches in frames where the browser keeps no cookies for the launch handler: by the platform's storage,
// by a partitioned cookie, in a new window.
import { assert, check, config, openBrowser, testid } from './browser.mjs';
import { escapeHTML, redirect, sendHTML, sendPostForm, serve } from './web.mjs';

const isHandlers = (request, path) => request.url().startsWith(config.handler) && new URL(request.url()).pathname.endsWith(path);

/** Opens an activity in a frame of the platform; storage is what the platform says of its own. */
async function launchFramed(context, activity, storage = '') {
  const page = await context.newPage();
  await page.goto(`${config.platform}/frame?${new URLSearchParams({
    version: '13', user: 'learner', place: 'frame', activity: activity.name, ...(storage && { storage }),
  })}`);
  return page.frameLocator('[data-testid="tool"]');
}

/** Counts requests of a browser from now on. */
function count(context, matches) {
  const counter = { n: 0 };
  context.on('request', request => counter.n += matches(request) ? 1 : 0);
  return counter;
}

/** A site of the handler's that sets a partitioned cookie and shows whether it came back. */
async function cookieSite() {
  const server = await serve(0, (req, res, url) => {
    const name = 'probe_partitioned';
    if (url.pathname !== '/set') return sendHTML(res, 200, 'Probe', `<output data-testid="kept">${req.headers.cookie?.includes(name) ?? false}</output>`);
    redirect(res, '/', { 'Set-Cookie': `${name}=1; Path=/; HttpOnly; Secure; SameSite=None; Partitioned` });
  });
  return { server, address: Object.assign(new URL(config.handler), { port: server.address().port, pathname: '/set' }).href };
}

export async function checkCookieless({ expectArrived, openNewWindow, pressThrough }) {
  const arrives = (root, activity, frame) => expectArrived(root, '13', 'learner', activity, frame);
  const openCookieless = options => openBrowser('blocked', { withhold: true, ...options });

  await check("a browser that is told to keeps no cookie of the handler's site in the platform's frame, and keeps it in a window", async () => {
    const { server, address } = await cookieSite();
    for (const [context, expected] of [[await openBrowser('blocked'), 'true'], [await openCookieless(), 'false']]) {
      const page = await context.newPage();
      await page.goto(`${config.platform}/probe/from?to=${encodeURIComponent(address)}`);
      const kept = await testid(page.frameLocator('[data-testid="framed"]'), 'kept').innerText();
      assert(kept === expected, `in the frame a partitioned cookie came back: ${kept}`);
      await page.goto(address);
      assert(await testid(page, 'kept').innerText() === 'true', 'in a window no cookie came back');
    }
    server.close();
    server.closeAllConnections();
  });

  await check(`no cookies, platform storage: ${config.embedded.title} opens in the frame, without a click, ${config.newWindow.title} in a window`, async () => {
    const context = await openCookieless();
    const asked = count(context, request => isHandlers(request, '/launch'));
    await arrives(await launchFramed(context, config.embedded, '_parent'), config.embedded, true);
    assert(asked.n === 2, `the launch was posted ${asked.n} times`);
    await arrives(await openNewWindow(context, await launchFramed(context, config.newWindow, '_parent')), config.newWindow);
  });

  for (const [storage, text] of [['', 'no platform storage'], ['silent', 'platform storage that does not answer']]) {
    await check(`no cookies, ${text}: every activity opens in a window, after one click`, async () => {
      const context = await openCookieless();
      const asked = count(context, request => request.url().startsWith(`${config.platform}/authorize`));
      for (const activity of [config.embedded, config.newWindow]) {
        asked.n = 0;
        await arrives(await openNewWindow(context, await launchFramed(context, activity, storage)), activity);
        assert(asked.n === 1, `the platform was asked ${asked.n} times, and its hints work once`);
      }
    });
  }

  await check('no cookies, platform storage, without JavaScript: the buttons lead to the academy, in a window', async () => {
    const context = await openCookieless({ javaScriptEnabled: false });
    const frame = await launchFramed(context, config.embedded, '_parent');
    await testid(frame, 'continue').click();
    await frame.getByRole('button', { name: 'Continue' }).and(frame.locator(':not([data-testid])')).click();
    const opened = await openNewWindow(context, frame);
    await pressThrough(opened);
    await arrives(opened, config.embedded);
  });

  await check('partitioned cookies: no click, and one more request in the first launch only', async () => {
    const context = await openBrowser('blocked');
    const logins = count(context, request => isHandlers(request, '/login'));
    const all = count(context, request => request.url().startsWith(config.handler));
    const figures = [];
    for (const expected of [2, 1]) {
      logins.n = all.n = 0;
      await arrives(await launchFramed(context, config.embedded), config.embedded, true);
      assert(logins.n === expected, `the login took ${logins.n} requests`);
      figures.push(all.n);
    }
    console.log(`# a framed launch took ${figures[0]} requests to the handler, the next one ${figures[1]}`);
  });

  await check('a stranger who knows the secret of a login signs nobody else in with it', async () => {
    const launched = await captureOwn(await openCookieless());
    const stranger = await strangerSite(launched);
    const context = await openCookieless();
    const page = await context.newPage();
    for (const [path, root] of [
      ['/post', page], ['/frame?of=/post', page.frameLocator('iframe')], ['/frame?of=/launch', page.frameLocator('iframe')],
    ]) {
      await page.goto(stranger.address + path);
      const refused = root.locator('[data-reason], [data-testid="learner-name"]').first();
      await refused.waitFor();
      const reason = await refused.getAttribute('data-reason');
      assert(reason === 'StateNotFromThisBrowser', `${path}: the reason is ${reason}`);
    }
    const heard = await page.evaluate(() => window.heard);
    assert(heard.join() === 'lti.capabilities', `the stranger heard ${heard}`);
    stranger.close();
  });
}

/** Somebody's own launch that never gets to the handler: its address and form, and the secret that is at the platform. */
async function captureOwn(context) {
  const login = context.waitForEvent('response', response => isHandlers(response.request(), '/login') && response.status() === 200);
  const posted = new Promise(resolve => context.route('**/launch', route => {
    resolve(route.request());
    return route.abort();
  }));
  await launchFramed(context, config.embedded, '_parent');
  const { value: secret } = JSON.parse((await (await login).text()).match(/id="settings">(.*?)<\/script>/)[1]);
  const request = await posted;
  return { address: request.url(), form: Object.fromEntries(new URLSearchParams(request.postData())), secret };
}

/** A site that posts that launch, with the secret or without, in a frame or not, and answers as if it were the platform. */
async function strangerSite({ address, form, secret }) {
  const answerAll = secret => {
    window.heard = [];
    addEventListener('message', ({ data, source }) => {
      window.heard.push(data.subject);
      source.postMessage({
        subject: `${data.subject}.response`, message_id: data.message_id, value: secret,
        supported_messages: ['lti.capabilities', 'lti.put_data', 'lti.get_data'].map(subject => ({ subject })),
      }, '*');
    });
  };
  const server = await serve(0, (req, res, url) => {
    switch (url.pathname) {
      case '/post': return sendPostForm(res, 'A launch with its secret', address, { ...form, stored_secret: secret });
      case '/launch': return sendPostForm(res, 'A launch', address, form);
      default: return sendHTML(res, 200, 'A stranger', `<script>(${answerAll})(${JSON.stringify(secret)})</script>
<iframe title="Launch" src="${escapeHTML(url.searchParams.get('of'))}"></iframe>`);
    }
  });
  return {
    address: `http://stranger.localhost:${server.address().port}`,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}
