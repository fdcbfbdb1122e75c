// A small academy. Its learners arrive signed in, either over OpenID Connect, with the launch handler as the provider, or with
// a one-time launch code, which its back end redeems there. They open activities of others at the handler, which reports
// the results to this site's webhook.
//
//   CLIENT_ID=academy CLIENT_SECRET_FILE=secret.txt node academy.mjs
//
// ACADEMY_PORT        port to listen on (9403); the address is http://academy.localhost:<port>
// LTI_URL             the launch handler (http://lti.localhost:9402)
// CLIENT_ID           this application's name at the handler (academy)
// CLIENT_SECRET_FILE  file with its secret, read for every sign-in, so a new secret counts at once
// EMBEDDED_COURSES    courses that may be shown in another site's frame, comma separated (43)
// EXTERNAL_ACTIVITIES activities of others that /external links to, comma separated names
// RESULTS_SECRET_FILE file with the secret (whsec_…) that signs results, read for every delivery; without, none is accepted
//
// POST /results is the webhook. GET /results lists its deliveries that were accepted, the oldest first: {"id": "…",
// "event": {…}}, also those that came more than once. POST /results/fail?n=2 answers the next two deliveries with 500, and GET
// /results/fail lists the webhook-ids of all that got this answer: {"failures": <how many more will>, "failed": ["…"]}.
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as oidc from 'openid-client';
import { Webhook } from 'standardwebhooks';
import { escapeHTML, fetchLocal, parseCookies, readForm, readText, redirect, request, sendHTML, sendJSON, serve } from './web.mjs';

const port = Number(process.env.ACADEMY_PORT ?? 9403);
const here = `http://academy.localhost:${port}`;
const handlerURL = process.env.LTI_URL ?? 'http://lti.localhost:9402';
const issuer = `${handlerURL}/oidc`;
const clientID = process.env.CLIENT_ID ?? 'academy';
const secretFile = process.env.CLIENT_SECRET_FILE;
const embedded = new Set((process.env.EMBEDDED_COURSES ?? '43').split(','));
const external = (process.env.EXTERNAL_ACTIVITIES ?? '').split(',').filter(Boolean);
const resultsSecretFile = process.env.RESULTS_SECRET_FILE;
if (!secretFile) {
  console.error('CLIENT_SECRET_FILE is not set');
  process.exit(2);
}
const readSecret = () => readFileSync(secretFile, 'utf8').trim();

/** Sessions by cookie value: who it is, and by course the claims of the launch. */
const sessions = new Map();
/** Sign-ins under way, by state. */
const signIns = new Map();
/** Results that the handler has delivered, and how many of the next deliveries fail. */
const results = [];
const failed = [];
let failures = 0;

/** The provider, as openid-client knows it. On this machine it speaks plain HTTP. */
async function provider() {
  const config = await oidc.discovery(new URL(issuer), clientID, undefined, oidc.ClientSecretBasic(readSecret()), {
    execute: [oidc.allowInsecureRequests], [oidc.customFetch]: fetchLocal,
  });
  config[oidc.customFetch] = fetchLocal;
  return config;
}

async function post(path, contentType, authorization, body) {
  const answer = await request(handlerURL + path, {
    method: 'POST', headers: { Authorization: authorization, 'Content-Type': contentType, Accept: 'application/json' }, body,
  });
  if (answer.status !== 200) throw new Error(`the launch handler answered ${answer.status}`);
  return JSON.parse(answer.text);
}

const redeem = code => post('/launch-codes/redeem', 'application/x-www-form-urlencoded',
  `Basic ${Buffer.from(`${clientID}:${readSecret()}`).toString('base64')}`, new URLSearchParams({ code }).toString());

/** Tells the launch handler how far the learner is; fields that are left empty have not changed. */
async function report(claims, form) {
  const { access_token: token } = await oidc.clientCredentialsGrant(await provider(), { scope: 'progress' });
  const progress = {
    sub: claims.sub, activity: claims.activity, at: new Date(Date.now() - 1000 * Number(form.ago || 0)).toISOString(),
    ...(form.percent && { percent: Number(form.percent) }),
    ...(form.completed && { completed: true }),
    ...(form.given && { score: { given: Number(form.given), maximum: Number(form.maximum) } }),
  };
  return post('/progress', 'application/json', `Bearer ${token}`, JSON.stringify(progress));
}

/** A cookie that works where the page is: in a frame of another site it belongs to that site and this one. */
const cookie = (req, name, value, more = '') => `${name}=${value}; Path=/; HttpOnly${more}; ${
  req.headers['sec-fetch-dest'] === 'iframe' ? 'SameSite=None; Secure; Partitioned' : 'SameSite=Lax'}`;

const currentSession = req => sessions.get(parseCookies(req.headers.cookie).academy_session);

/** Begins a session, or goes on with that of the same person; anybody else's ends. */
function enter(req, sub, name, course, claims) {
  const before = parseCookies(req.headers.cookie).academy_session;
  const same = sessions.get(before)?.sub === sub ? sessions.get(before) : { sub, name, courses: new Map() };
  sessions.delete(before);
  const id = randomBytes(24).toString('base64url');
  sessions.set(id, same);
  if (course) same.courses.set(course, { claims, reports: same.courses.get(course)?.reports ?? 0 });
  return cookie(req, 'academy_session', id);
}

function sendRefusal(res, status, why, headers) {
  sendHTML(res, status, 'You are not signed in', `<p data-testid="refused">${escapeHTML(why)}</p>
<p>Open the activity again from your own learning environment.</p>`, headers);
}

function sendCourse(res, session, { claims, reports }, headers) {
  const rows = {
    name: claims.name, activity: claims.activity_title, role: claims.role, platform: claims.platform, version: claims.lti_version,
    course: claims.context?.title, email: claims.email,
  };
  sendHTML(res, 200, claims.activity_title, `<p>Welcome, <strong data-testid="learner-name">${escapeHTML(rows.name)}</strong>.</p>
<table>
<tr><th scope="row">Activity</th><td data-testid="activity">${escapeHTML(rows.activity)}</td></tr>
<tr><th scope="row">Role</th><td data-testid="role">${escapeHTML(rows.role)}</td></tr>
<tr><th scope="row">Email</th><td data-testid="email">${escapeHTML(rows.email)}</td></tr>
<tr><th scope="row">Account</th><td data-testid="sub">${escapeHTML(claims.sub)}</td></tr>
<tr><th scope="row">Coming from</th><td data-testid="platform">${escapeHTML(rows.platform)}</td></tr>
<tr><th scope="row">Course there</th><td data-testid="context">${escapeHTML(rows.course)}</td></tr>
<tr><th scope="row">LTI version</th><td data-testid="lti-version">${escapeHTML(rows.version)}</td></tr>
</table>
<form method="post"><fieldset><legend>Report progress</legend><input type="hidden" name="sub" value="${escapeHTML(session.sub)}">
<label>Points <input name="given"></label> <label>of <input name="maximum" value="10"></label>
<label>Percent <input name="percent"></label> <label>Seconds ago <input name="ago"></label>
<label><input type="checkbox" name="completed"> Completed</label> <button data-testid="report">Report</button>
<output data-testid="reported">${reports}</output></fieldset></form>`, headers);
}

/** Third-party-initiated login: a new sign-in each time, whoever is signed in. */
async function beginSignIn(req, res, url) {
  const { iss, login_hint: hint, target_link_uri: target } = Object.fromEntries(url.searchParams);
  if (iss !== issuer || !URL.canParse(target) || new URL(target).origin !== here) {
    return sendRefusal(res, 400, 'This sign-in did not begin at the launch handler.');
  }
  const config = await provider();
  const verifier = oidc.randomPKCECodeVerifier();
  const state = oidc.randomState();
  const nonce = oidc.randomNonce();
  signIns.set(state, { verifier, nonce, target: new URL(target) });
  const to = oidc.buildAuthorizationUrl(config, {
    redirect_uri: `${here}/callback`, scope: 'openid profile email', login_hint: hint, state, nonce,
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256',
  });
  redirect(res, to.href, { 'Referrer-Policy': 'no-referrer', 'Set-Cookie': cookie(req, `sign_in_${state.slice(0, 12)}`, state, '; Max-Age=120') });
}

async function finishSignIn(req, res, url) {
  const state = url.searchParams.get('state') ?? '';
  const begun = signIns.get(state);
  if (!begun || parseCookies(req.headers.cookie)[`sign_in_${state.slice(0, 12)}`] !== state) {
    return sendRefusal(res, 400, 'This sign-in did not begin in this browser.');
  }
  signIns.delete(state);
  let claims;
  try {
    const tokens = await oidc.authorizationCodeGrant(await provider(), url, {
      pkceCodeVerifier: begun.verifier, expectedState: state, expectedNonce: begun.nonce, idTokenExpected: true,
    });
    claims = tokens.claims();
  } catch (error) {
    return sendRefusal(res, 403, `The sign-in was not accepted: ${error.error ?? error.message}.`);
  }
  const course = begun.target.pathname.match(/^\/courses\/([\w-]+)$/)?.[1];
  redirect(res, begun.target.pathname + begun.target.search, { 'Set-Cookie': enter(req, claims.sub, claims.name, course, claims) });
}

/** Where this academy's learners find activities of others: the handler signs them in and takes them there. */
function sendExternal(res) {
  const links = external.map(name => `<li><a data-testid="start-${escapeHTML(name)}"
href="${escapeHTML(`${handlerURL}/activities/${encodeURIComponent(name)}/start`)}">${escapeHTML(name)}</a></li>`);
  sendHTML(res, 200, 'Activities of others', `<ul>${links.join('\n')}</ul>`);
}

/** The webhook: Standard Webhooks around a CloudEvent in JSON (structured content mode). */
async function takeResult(req, res) {
  const body = await readText(req);
  if (failures > 0) {
    failures--;
    failed.push(req.headers['webhook-id']);
    return sendJSON(res, 500, { error: 'told to fail' });
  }
  let event;
  try {
    event = new Webhook(readFileSync(resultsSecretFile, 'utf8').trim()).verify(body, req.headers);
  } catch (error) {
    return sendJSON(res, 401, { error: error.message });
  }
  const missing = ['id', 'source', 'type'].filter(name => typeof event?.[name] !== 'string' || event[name] === '');
  if (!/^application\/cloudevents\+json(;|$)/.test(req.headers['content-type']) || event?.specversion !== '1.0' || missing.length > 0) {
    return sendJSON(res, 400, { error: 'not a CloudEvent' });
  }
  results.push({ id: req.headers['webhook-id'], event });
  res.writeHead(204).end();
}

await serve(port, async (req, res, url) => {
  const course = url.pathname.match(/^\/courses\/([\w-]+)$/)?.[1];
  switch (url.pathname) {
    case '/': return sendHTML(res, 200, 'Acme Academy', `<p>Courses are opened from other learning environments.</p>
<p>Signed in: <strong data-testid="signed-in">${escapeHTML(currentSession(req)?.name ?? 'nobody')}</strong></p>`);
    case '/sign-in': return beginSignIn(req, res, url);
    case '/callback': return finishSignIn(req, res, url);
    // Somebody who signed in here without a launch.
    case '/staff-room': return redirect(res, '/', { 'Set-Cookie': enter(req, 'staff-1', 'Stella Staff') });
    case '/external': return sendExternal(res);
    case '/results': return req.method === 'POST' ? takeResult(req, res) : sendJSON(res, 200, results);
    case '/results/fail':
      if (req.method === 'POST') failures = Number(url.searchParams.get('n'));
      return sendJSON(res, 200, { failures, failed });
  }
  if (!course) return sendHTML(res, 404, 'Not found', '');

  const headers = {
    'Content-Security-Policy': `frame-ancestors ${embedded.has(course) ? '*' : "'none'"}`,
    'Referrer-Policy': 'no-referrer',
  };
  const code = url.searchParams.get('lti_launch_code');
  if (code !== null) {
    let claims;
    try {
      claims = await redeem(code);
    } catch (error) {
      return sendRefusal(res, 403, `The launch code was not accepted: ${error.message}.`, headers);
    }
    url.searchParams.delete('lti_launch_code');
    return redirect(res, url.pathname + url.search, { ...headers, 'Set-Cookie': enter(req, claims.sub, claims.name, course, claims) });
  }
  const session = currentSession(req);
  const opened = session?.courses.get(course);
  if (!opened) return sendRefusal(res, 401, 'There is no session for this course.', headers);
  if (req.method === 'POST') {
    const form = await readForm(req);
    if (form.sub !== session.sub) return sendRefusal(res, 409, 'Somebody else has signed in since.', headers);
    await report(opened.claims, form);
    opened.reports++;
    return redirect(res, url.pathname + url.search, headers);
  }
  sendCourse(res, session, opened, headers);
});
console.log(`academy: ${here}`);
