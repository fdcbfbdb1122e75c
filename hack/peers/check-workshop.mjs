// Has a tool register by a link, an author choose an exercise there, and a learner open what was chosen and be graded: all in a
// real browser, and without a value that somebody typed. check.mjs runs it.
//
// KUBECTL, KUBECTL_LTI  the programs; KUBECONFIG leads to the cluster, and its context to the namespace
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { artifacts, assert, check, config, openBrowser, testid, timeout } from './browser.mjs';
import { deliveries, equal, getJSON, learnerRole, personOf, shown, signIn, told } from './check-external.mjs';

const { workshop } = config.external ?? {};
const run = promisify(execFile);
const kubectl = async (...args) => (await run(process.env.KUBECTL, args)).stdout;
const plugin = async (...args) => (await run(process.env.KUBECTL_LTI, args)).stdout;
const tool = async () => JSON.parse(await kubectl('get', 'ltitool', workshop.tool, '-o', 'json'));

/** Waits until the operator has heard of a registration that nobody has approved; resolves to its ID. */
async function pending() {
  for (const started = Date.now(); ; await new Promise(resolve => setTimeout(resolve, 200))) {
    const { status } = await tool();
    const [registration] = status.registration?.known ?? [];
    const registered = status.conditions.find(({ type }) => type === 'Registered');
    if (registration && registered.reason === 'RegistrationPending') return registration.id;
    assert(Date.now() - started < timeout, `after ${timeout} ms Registered is ${registered.status}, ${registered.reason}: ${registered.message}`);
  }
}

async function reasonAt(context, address) {
  const page = await context.newPage();
  await page.goto(address);
  const reason = await page.locator('[data-reason]').getAttribute('data-reason');
  await page.close();
  return reason;
}

export async function checkWorkshop() {
  await check('external, LTI 1.3, ltijs: it registers by a link, an author chooses there, a learner opens what was chosen and is graded', async () => {
    const context = await openBrowser('blocked', { acceptDownloads: true });
    const { chooseURL } = (await tool()).status.details;

    const link = (await plugin('registration', 'link', `tool/${workshop.tool}`)).match(/https?:\/\/\S+/)[0];
    // The link is a secret between us and the tool's administrator, in whose browser it may be seen.
    const administrator = await openBrowser('blocked', { recorded: false });
    for (let times = 0; times < 2; times++) { // the second time it is used up
      const page = await administrator.newPage();
      await page.goto(link);
      await page.close();
    }
    const id = await pending();
    equal(await reasonAt(context, chooseURL), 'NotRegistered', 'before anybody has approved it, choosing there');
    equal((await tool()).status.registration.known.length, 1, 'the registrations');
    await plugin('registration', 'approve', `tool/${workshop.tool}`, id, '--apply');
    await kubectl('wait', '--for=condition=Registered', `ltitool/${workshop.tool}`, '--timeout=20s');

    const choosing = await context.newPage();
    await choosing.goto(chooseURL);
    await signIn(choosing, 'gus', '[data-testid="choose"]');
    await testid(choosing, 'knots').check();
    await testid(choosing, 'choose').click();
    const yaml = await choosing.locator('#yaml').inputValue();
    await choosing.screenshot({ path: join(artifacts, 'chosen.png'), fullPage: true });
    const [download] = await Promise.all([choosing.waitForEvent('download'), testid(choosing, 'download').click()]);
    const file = await download.path();
    equal(await readFile(file, 'utf8'), yaml, 'what is downloaded');
    await kubectl('apply', '-f', file);
    const activity = { name: /^ {2}name: "?([a-z0-9-]+)"?$/m.exec(yaml)[1] };
    await kubectl('wait', '--for=condition=Ready', `ltiactivity/${activity.name}`, '--timeout=20s');

    const zoe = personOf('zoe');
    const learning = await (await openBrowser('blocked')).newPage();
    await learning.goto(`${config.handler}/activities/${activity.name}/start`);
    await signIn(learning, 'zoe');
    const launch = await shown(learning);
    equal([launch.name, launch.roles, launch.custom, launch.resource.title],
      [zoe.name, [learnerRole], { exercise: 'knots' }, 'Knots & hitches'], 'the launch');
    assert(new URL(launch.targetLinkUri).searchParams.get('exercise') === 'knots', `the target link URI is ${launch.targetLinkUri}`);
    const since = (await deliveries()).length;
    const ltik = new URL(learning.url()).searchParams.get('ltik');
    await getJSON(new URL('/score', launch.targetLinkUri), { ltik, given: 8, maximum: 10, activityProgress: 'Completed', gradingProgress: 'FullyGraded' });
    const { event } = await told(activity, 'zoe', 'Completed', since);
    equal(event.data.score, { given: 8, maximum: 10 }, 'the result');
  });

  await check('external, LTI 1.3, ltijs: whoever is not an author chooses nothing', async () => {
    const page = await (await openBrowser()).newPage();
    await page.goto((await tool()).status.details.chooseURL);
    await signIn(page, 'zoe');
    equal(await page.locator('[data-reason]').getAttribute('data-reason'), 'AuthorNotAllowed', 'the refusal');
  });
}
