// Opens activities of others the way the academy's learners do, from its page to the tool, in a real browser; makes the tools
// call the services; and judges what they and the academy got. check.mjs runs it.
import { join } from 'node:path';
import { artifacts, assert, check, config, cookieModes, openBrowser, testid, textOf, timeout } from './browser.mjs';
import { request } from './web.mjs';

const { simulation, exam, partner, people, identityProvider } = config.external ?? {};
export const personOf = login => people.find(person => person.login === login);
const siteOf = activity => new URL(activity.launchURL).origin;
const claim = name => `https://purl.imsglobal.org/spec/lti/claim/${name}`;
export const learnerRole = 'http://purl.imsglobal.org/vocab/lis/v2/membership#Learner';
const agsScope = name => `https://purl.imsglobal.org/spec/lti-ags/scope/${name}`;
const membersScope = 'https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly';

/** JSON in which the order of members does not matter. */
const text = value => JSON.stringify(value, (_, member) => member instanceof Object && !Array.isArray(member)
  ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => a < b ? -1 : 1)) : member);

export function equal(got, want, what) {
  assert(text(got) === text(want), `${what}: ${text(got)?.slice(0, 300)}, not ${text(want)}`);
}

const sleep = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds));

/** Signs in at the identity provider, unless the browser is; it asks once whether the launch handler may know who it is. */
export async function signIn(page, login, arrivedAt = '#launch') {
  const name = page.locator('input[name="login"]');
  const consent = page.locator('form:has(input[name="prompt"][value="consent"]) button[type="submit"]');
  const arrived = page.locator(`${arrivedAt}, iframe#tool, [data-testid="refused"], [data-reason]`);
  await name.or(consent).or(arrived).first().waitFor();
  if (await name.count() > 0) {
    await name.fill(login);
    await page.locator('input[name="password"]').fill('any');
    await page.locator('button[type="submit"]').click();
    await consent.or(arrived).first().waitFor();
  }
  if (await consent.count() > 0) await consent.click();
}

async function signOut(context) {
  const page = await context.newPage();
  await page.goto(`${identityProvider}/session/end`);
  await page.locator('button[name="logout"]').click();
  await page.waitForURL('**/session/end/success**');
  await page.close();
}

/** Follows the academy's link to an activity; returns the page in which it opens. */
async function start(context, activity, login) {
  const page = await context.newPage();
  await page.goto(`${config.academy}/external`);
  const link = testid(page, `start-${activity.name}`);
  assert(await link.getAttribute('href') === activity.startURL, `the academy links to another address than ${activity.startURL}`);
  await link.click();
  await signIn(page, login);
  return page;
}

/** What the tool shows of the launch, in the page or in its frame. */
export async function shown(root) {
  const launch = root.locator('#launch');
  const refused = root.locator('[data-testid="refused"], [data-reason]');
  await launch.or(refused).first().waitFor();
  if (await launch.count() !== 1) throw new Error(`the launch was refused: ${await refused.first().innerText()}`);
  return JSON.parse(await launch.innerText());
}

const toolFrame = page => page.frameLocator('iframe#tool');

async function openSimulation(context, login) {
  const page = await start(context, simulation, login);
  const launch = await shown(page);
  return { page, launch, ltik: new URL(page.url()).searchParams.get('ltik') };
}

async function openExam(context, login) {
  const page = await start(context, exam, login);
  return { page, launch: await shown(toolFrame(page)) };
}

async function openPartner(context, login) {
  const page = await start(context, partner, login);
  return { page, launch: await shown(page) };
}

export const getJSON = async (address, query = {}) => {
  const url = new URL(address);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  return JSON.parse((await request(url.href)).text);
};

export const deliveries = () => getJSON(`${config.academy}/results`);

/** Waits until the academy was told a status of somebody, in a delivery after the first since; resolves to that delivery. */
export async function told(activity, login, status, since, within = 10_000) {
  const { id } = personOf(login);
  for (const started = Date.now(); ; await sleep(20)) {
    const found = (await deliveries()).slice(since)
      .filter(({ event: { data } }) => data.activity === activity.name && data.subject === id);
    const wanted = found.find(({ event }) => event.data.status === status);
    if (wanted) return { ...wanted, after: Date.now() - started };
    assert(Date.now() - started < within,
      `after ${within} ms the academy was told ${found.map(({ event }) => event.data.status).join(', ') || 'nothing'}, not ${status}`);
  }
}

/** Makes the strict tool call a service after a launch. */
const drive = (launch, call, query = {}) => getJSON(`${siteOf(exam)}/drive`, { call, launch: launch.launch, ...query });

async function driven(launch, call, query, status = 200) {
  const answer = await drive(launch, call, query);
  assert(answer.status === status && answer.step === undefined && answer.violation === undefined,
    `${call} is answered with ${answer.status ?? answer.error} ${answer.step ?? ''} ${JSON.stringify(answer.body ?? '')} ${answer.violation ?? ''}, not ${status}`);
  return answer;
}

async function refusedCall(launch, call, query, status, reason) {
  const answer = await drive(launch, call, query);
  assert(answer.status === status && answer.body?.reason === reason,
    `${call} ${JSON.stringify(query)} is answered with ${answer.status ?? answer.error} ${JSON.stringify(answer.body ?? '')}, not ${status} ${reason}`);
}

const score = (launch, given, query = {}) => driven(launch, 'score', { given, maximum: 100, ...query });

const pagesOf = answer => [answer, ...answer.more].map(page => page.body);

/** The parameters of an activity with the variables of the samples replaced. */
const parametersFor = (activity, person, sub) => Object.fromEntries(Object.entries(activity.parameters).map(([name, value]) =>
  [name, { '$Person.name.full': person.name, '$User.id': sub }[value] ?? value]));

async function checkSimulation() {
  for (const cookies of Object.keys(cookieModes)) {
    await check(`external, LTI 1.3, ltijs, window, cookies ${cookies}: a learner signs in and arrives as themself`, async () => {
      const zoe = personOf('zoe');
      const { page, launch } = await openSimulation(await openBrowser(cookies), 'zoe');
      equal(page.url().split('?')[0], `${siteOf(simulation)}/`, 'the address');
      equal([launch.name, launch.given_name, launch.family_name, launch.email], [zoe.name, zoe.givenName, zoe.familyName, zoe.email], 'the person');
      equal(launch.roles, [learnerRole], 'the roles');
      equal([launch.context.id, launch.context.title], [simulation.name, simulation.title], 'the context');
      equal([launch.resource.id, launch.resource.title, launch.resource.description], [simulation.linkID, simulation.title, simulation.description], 'the resource link');
      equal(launch.custom, parametersFor(simulation, zoe), 'the parameters');
      equal([launch.iss, launch.clientId, launch.deploymentId], [config.handler, simulation.tool, simulation.tool], 'issuer, client and deployment');
      equal(launch.targetLinkUri, simulation.launchURL, 'the target link URI');
      assert(!Object.values(zoe).includes(launch.user), `the tool knows the learner by ${launch.user}`);
    });
  }

  await check('external, LTI 1.3, ltijs: 8 of 10 is Completed at the academy, ltijs reads it back and finds the learner', async () => {
    const { launch, ltik } = await openSimulation(await openBrowser(), 'zoe');
    const since = (await deliveries()).length;
    const call = (name, query) => getJSON(`${siteOf(simulation)}${name}`, { ltik, ...query });
    await call('/score', { given: 8, maximum: 10, activityProgress: 'Completed', gradingProgress: 'FullyGraded', comment: 'één & goed' });
    const { event, after } = await told(simulation, 'zoe', 'Completed', since);
    console.log(`# the academy had it after ${after} ms`);
    equal([event.type, event.source, event.data.ltiUserID], ['io.lti-operator.result.changed.v1', config.handler, launch.user], 'the event');
    equal([event.data.score, event.data.comment], [{ given: 8, maximum: 10 }, 'één & goed'], 'the result');
    const { scores } = await call('/results', { user: launch.user });
    equal(scores?.map(({ userId, resultScore, resultMaximum }) => [userId, resultScore, resultMaximum]), [[launch.user, 8, 10]], 'the results');
    const zoe = personOf('zoe');
    const { members } = await call('/members');
    const member = members?.find(({ user_id: id }) => id === launch.user);
    equal([member?.name, member?.email, member?.roles, member?.status], [zoe.name, zoe.email, [learnerRole], 'Active'], 'the member');
  });
}

async function checkExam() {
  for (const [cookies, boundBy] of [['allowed', 'cookie'], ['blocked', 'storage']]) {
    await check(`external, LTI 1.3, strict tool in our frame, cookies ${cookies}: no violation, and the tool is bound by ${boundBy}`, async () => {
      const zoe = personOf('zoe');
      const { page, launch } = await openExam(await openBrowser(cookies), 'zoe');
      await page.screenshot({ path: join(artifacts, `exam-page-${cookies}.png`) });
      equal(page.url(), exam.startURL, 'the address of the page');
      equal([launch.violations, launch.boundBy], [[], boundBy], 'violations, and what binds it');
      const { claims } = launch;
      equal([claims.name, claims.email, claims.locale], [zoe.name, zoe.email, zoe.locale], 'the person');
      equal(claims[claim('custom')], parametersFor(exam, zoe, claims.sub), 'the parameters');
      equal(claims[claim('launch_presentation')].document_target, 'iframe', 'the target');
    });
  }

  await check('external, LTI 1.3, strict tool: configuration, keys and tokens by private_key_jwt are as demanded', async () => {
    const { launch } = await openExam(await openBrowser(), 'ben');
    const { violations } = await driven(launch, 'configuration');
    equal(violations, [], 'violations of the configuration');
    const { body } = await driven(launch, 'token');
    equal([body.token_type.toLowerCase(), body.expires_in, body.scope.split(' ').sort()], ['bearer', 3600,
      [...['lineitem', 'lineitem.readonly', 'result.readonly', 'score'].map(agsScope), membersScope].sort()], 'the token');
    await driven(launch, 'members', { token: body.access_token });
    const once = { 'assertion.jti': `once-${Date.now()}` };
    await driven(launch, 'token', once);
    for (const [query, reason] of [
      [once, 'Replayed'],
      [{ 'assertion.aud': `${config.handler}/tools/${simulation.tool}/token` }, 'AudienceMismatch'],
      [{ 'assertion.iss': simulation.tool }, 'IssuerMismatch'],
      [{ 'assertion.exp': 1_000_000_000 }, 'TokenExpired'],
      [{ scope: agsScope('everything') }, 'ScopeNotGranted'],
    ]) {
      const { status, body } = await drive(launch, 'token', query);
      assert(status >= 400 && status < 500 && body.reason === reason && body.error && !body.access_token,
        `a token with ${JSON.stringify(query)} is answered with ${status} ${JSON.stringify(body)}, not ${reason}`);
    }
  });

  await check('external, LTI 1.3, strict tool: 69.5 of 100 is Failed and 70 is Passed at the academy, and an older score is refused', async () => {
    const { launch } = await openExam(await openBrowser(), 'zoe');
    let since = (await deliveries()).length;
    await score(launch, 69.5);
    const failed = await told(exam, 'zoe', 'Failed', since);
    equal([failed.event.data.score, failed.event.data.minimumScore], [{ given: 69.5, maximum: 100 }, 70], 'the result');
    since = (await deliveries()).length;
    const timestamp = new Date().toISOString();
    await score(launch, 70, { timestamp });
    const passed = await told(exam, 'zoe', 'Passed', since);
    assert(passed.event.data.version > failed.event.data.version, 'the later event has no later version');
    since = (await deliveries()).length;
    await score(launch, 70, { timestamp }); // the same again
    await refusedCall(launch, 'score', { given: 10, maximum: 100, timestamp }, 409, 'ScoreOutdated');
    await refusedCall(launch, 'score', { given: 10, maximum: 100, timestamp: new Date(Date.now() - 60_000).toISOString() }, 409, 'ScoreOutdated');
    await score(launch, 75, { like: 'moodle', timestamp: new Date(Date.now() + 2000).toISOString() });
    equal((await told(exam, 'zoe', 'Passed', since)).event.data.score, { given: 75, maximum: 100 }, 'a score as Moodle writes it');
    equal((await deliveries()).length, since + 1, 'deliveries');
  });

  await check('external, LTI 1.3, strict tool: line items are made, changed and deleted, and decide nothing', async () => {
    const { launch } = await openExam(await openBrowser(), 'zoe');
    const since = (await deliveries()).length;
    const tag = `part-${Date.now()}`;
    const made = await driven(launch, 'create', { body: JSON.stringify({ label: 'Part één', scoreMaximum: 20, tag, resourceId: 'r' }) }, 201);
    const url = made.body.id;
    equal([made.body.label, made.body.scoreMaximum, made.body.tag], ['Part één', 20, tag], 'the line item');
    const all = pagesOf(await driven(launch, 'line-items', { limit: 1, follow: 1 }));
    assert(all.length >= 2 && all.every(page => page.length <= 1), `pages of ${all.map(page => page.length)} line items`);
    const ids = all.flat().map(({ id }) => id);
    const own = launch.claims['https://purl.imsglobal.org/spec/lti-ags/claim/endpoint'].lineitem;
    assert(ids.includes(url) && ids.includes(own) && new Set(ids).size === ids.length, `the line items are ${ids.join(', ')}`);
    equal((await driven(launch, 'line-items', { tag })).body.map(({ id }) => id), [url], 'the line items with the tag');
    await driven(launch, 'update', { url, body: JSON.stringify({ label: 'Part two', scoreMaximum: 10, tag }) });
    equal((await driven(launch, 'line-item', { url })).body.label, 'Part two', 'the new label');
    await score(launch, 1, { url });
    equal((await driven(launch, 'results', { url })).body.map(({ userId, resultScore }) => [userId, resultScore]), [[launch.claims.sub, 1]], 'its results');
    await driven(launch, 'delete', { url }, 204);
    await refusedCall(launch, 'line-item', { url }, 404, 'LineItemUnknown');
    await refusedCall(launch, 'delete', { url: own }, 403, 'LineItemProtected');
    await sleep(1000);
    equal((await deliveries()).length, since, 'deliveries');
  });

  await check('external, LTI 1.3, strict tool: results and members come page by page, and whole', async () => {
    const subs = [];
    for (const login of ['zoe', 'ben']) {
      const { launch } = await openExam(await openBrowser(), login);
      await score(launch, 90);
      subs.push(launch.claims.sub);
      if (login === 'zoe') continue;
      const results = pagesOf(await driven(launch, 'results', { limit: 1, follow: 1 }));
      assert(results.length >= 2 && results.every(page => page.length <= 1), `pages of ${results.map(page => page.length)} results`);
      equal(results.flat().map(({ userId }) => userId).sort(), [...subs].sort(), 'whose results there are');
      equal((await driven(launch, 'results', { user_id: subs[0] })).body.map(({ resultScore }) => resultScore), [90], "one learner's result");
      const members = pagesOf(await driven(launch, 'members', { limit: 1, follow: 1 }));
      assert(members.length >= 2 && members.every(page => page.members.length <= 1), `pages of ${members.map(page => page.members.length)} members`);
      equal(members.flatMap(page => page.members).map(member => [member.user_id, member.name, member.email]).sort(),
        ['zoe', 'ben'].map((login, i) => [subs[i], personOf(login).name, personOf(login).email]).sort(), 'the members');
      const { body } = await driven(launch, 'members', { rlid: exam.linkID });
      const [message] = body.members.find(member => member.user_id === subs[1]).message;
      equal(message[claim('custom')], parametersFor(exam, personOf('ben'), subs[1]), "the parameters of a member's message");
    }
  });

  await check("external, LTI 1.3, strict tool: without the right scope, with another tool's token or for others' activities nothing is done", async () => {
    const { launch } = await openExam(await openBrowser(), 'zoe');
    const since = (await deliveries()).length;
    await refusedCall(launch, 'score', { given: 1, maximum: 100, scope: agsScope('lineitem.readonly') }, 403, 'ScopeMissing');
    await refusedCall(launch, 'delete', { scope: agsScope('lineitem.readonly') }, 403, 'ScopeMissing');
    await refusedCall(launch, 'members', { scope: agsScope('score') }, 403, 'ScopeMissing');
    const at = (tool, activity, rest) => ({ address: `${config.handler}/tools/${tool}/contexts/${activity}/${rest}` });
    await refusedCall(launch, 'members', at(simulation.tool, simulation.name, 'memberships'), 403, 'AccessTokenForeign');
    await refusedCall(launch, 'score', { given: 1, maximum: 1, ...at(simulation.tool, simulation.name, 'lineitems/activity/scores') }, 403, 'AccessTokenForeign');
    await refusedCall(launch, 'members', at(exam.tool, simulation.name, 'memberships'), 404, 'ContextUnknown');
    await refusedCall(launch, 'members', { token: 'made-up' }, 401, 'AccessTokenInvalid');
    await refusedCall(launch, 'score', { given: 1, maximum: 1, user: 'somebody-else' }, 404, 'LearnerUnknown');
    await sleep(1000);
    equal((await deliveries()).length, since, 'deliveries');
  });
}

async function checkPartner() {
  await check('external, LTI 1.2, ims-lti: the form arrives as it was signed, with a query, "&" and letters beyond ASCII', async () => {
    const zoe = personOf('zoe');
    const { page, launch } = await openPartner(await openBrowser('blocked'), 'zoe');
    equal([page.url(), launch.url], [partner.launchURL, partner.launchURL], 'the address');
    const { parameters } = launch;
    for (const [name, want] of Object.entries({
      lti_version: 'LTI-1p0', lti_message_type: 'basic-lti-launch-request', resource_link_id: partner.linkID, resource_link_title: partner.title,
      lis_person_name_full: zoe.name, lis_person_name_given: zoe.givenName, lis_person_name_family: zoe.familyName,
      lis_person_contact_email_primary: zoe.email, roles: 'Learner', context_id: partner.name,
      ...Object.fromEntries(Object.entries(parametersFor(partner, zoe)).map(([name, value]) => [`custom_${name}`, value])),
    })) equal(parameters[name], want, name);
    assert(/[^\0-\x7f]/.test(partner.title) && Object.values(partner.parameters).some(value => value.includes('&')) && new URL(partner.launchURL).search,
      'the sample has neither query, nor "&", nor other letters');
  });

  await check('external, LTI 1.2, ims-lti: 0.8 is Completed at the academy and is read back, and is withdrawn when it is deleted', async () => {
    const { launch } = await openPartner(await openBrowser(), 'ben');
    const outcome = (operation, query) => getJSON(`${siteOf(partner)}/outcomes/${operation}`, { launch: launch.launch, ...query });
    let since = (await deliveries()).length;
    equal(await outcome('replace', { score: 0.8 }), { ok: true, result: true }, 'the answer to a score');
    const { event } = await told(partner, 'ben', 'Completed', since);
    equal(event.data.score, { given: 0.8, maximum: 1 }, 'the result');
    equal(await outcome('read'), { ok: true, result: 0.8 }, 'what is read');
    since = (await deliveries()).length;
    equal(await outcome('delete'), { ok: true, result: true }, 'the answer to its deletion');
    const withdrawn = await told(partner, 'ben', 'Withdrawn', since);
    equal(withdrawn.event.data.score, undefined, 'the score of a result that was withdrawn');
  });
}

async function checkPeople() {
  await check('external, one browser, learners A, B, A in turn, third-party cookies blocked: always the right person', async () => {
    const context = await openBrowser('blocked');
    const subs = { simulation: [], exam: [], partner: [] };
    for (const [turn, login] of ['zoe', 'ben', 'zoe'].entries()) {
      if (turn > 0) await signOut(context);
      const { name } = personOf(login);
      const { launch } = await openSimulation(context, login);
      const { launch: { claims } } = await openExam(context, login);
      const { launch: { parameters } } = await openPartner(context, login);
      equal([launch.name, claims.name, parameters.lis_person_name_full], [name, name, name], 'the person');
      subs.simulation.push(launch.user);
      subs.exam.push(claims.sub);
      subs.partner.push(parameters.user_id);
    }
    for (const [a, b, again] of Object.values(subs)) assert(a === again && a !== b, `the learners are ${a}, ${b}, ${again}`);
    assert(new Set(Object.values(subs).flat()).size === 6, 'two tools know a learner by the same ID');
  });

  await check('external, one browser, learners A, B, A in three tabs, finished in another order: always the right person', async () => {
    const context = await openBrowser('blocked');
    const held = [];
    await context.route(`${config.handler}/tools/${exam.tool}/authorize*`, route => held.push(route));
    const tabs = [];
    for (const login of ['zoe', 'ben', 'zoe']) {
      if (tabs.length > 0) await signOut(context);
      tabs.push({ login, page: await start(context, exam, login) });
      for (const started = Date.now(); held.length < tabs.length; await sleep(10)) {
        assert(Date.now() - started < timeout, 'a launch does not get to the handler');
      }
    }
    for (const n of [2, 0, 1]) {
      await held[n].continue();
      const { claims, violations } = await shown(toolFrame(tabs[n].page));
      equal([claims.name, violations], [personOf(tabs[n].login).name, []], `tab ${n + 1}`);
    }
  });

  await check('external: a launch of one browser is worth nothing in another', async () => {
    const context = await openBrowser('blocked');
    let held;
    await context.route(`${config.handler}/tools/${exam.tool}/authorize*`, route => { held = route.request().url(); });
    await start(context, exam, 'zoe');
    for (const started = Date.now(); held === undefined; await sleep(10)) {
      assert(Date.now() - started < timeout, 'the launch does not get to the handler');
    }
    const thief = await (await openBrowser('blocked')).newPage();
    await thief.goto(held);
    assert((await testid(thief, 'refused').innerText()) !== '' && await thief.locator('#launch').count() === 0, 'the launch works in another browser');
  });
}

async function checkDeliveries() {
  await check('external: a webhook that fails twice gets the same event again, and nothing is lost', async () => {
    const zoe = await openSimulation(await openBrowser(), 'zoe');
    const since = (await deliveries()).length;
    const before = (await getJSON(`${config.academy}/results/fail`)).failed.length;
    await request(`${config.academy}/results/fail?n=2`, { method: 'POST' });
    const given = 1 + Math.floor(Math.random() * 1e6);
    await getJSON(`${siteOf(simulation)}/score`, { ltik: zoe.ltik, given, maximum: 1e6 });
    const { id, event, after } = await told(simulation, 'zoe', 'Completed', since, 20_000);
    console.log(`# the academy had it after ${after} ms`);
    equal(event.data.score, { given, maximum: 1e6 }, 'the result');
    const { failures, failed } = await getJSON(`${config.academy}/results/fail`);
    equal([failures, failed.slice(before)], [0, [id, id]], 'the deliveries in vain');
    equal((await deliveries()).slice(since).map(({ id }) => id), [id], 'the deliveries');
    equal(event.id, id, "the event's ID");
  });
}

export async function checkExternal() {
  if (!config.external) return;
  await checkSimulation();
  await checkExam();
  await checkPartner();
  await checkPeople();
  await checkDeliveries();
}
