// A small academy: its learners arrive with a one-time launch code, which its back end redeems at the launch handler.
//
//   CLIENT_ID=academy CLIENT_SECRET_FILE=secret.txt node academy.mjs
//
// ACADEMY_PORT        port to listen on (9403); the address is http://academy.localhost:<port>
// LTI_URL             the launch handler (http://lti.localhost:9402)
// CLIENT_ID           this application's name at the handler (academy)
// CLIENT_SECRET_FILE  file with its secret, read for every code, so a new secret counts at once
// EMBEDDED_COURSES    courses that may be shown in another site's frame, comma separated (43)
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { escapeHTML, parseCookies, readForm, redirect, request, sendHTML, serve } from './web.mjs';

const port = Number(process.env.ACADEMY_PORT ?? 9403);
const handlerURL = process.env.LTI_URL ?? 'http://lti.localhost:9402';
const clientID = process.env.CLIENT_ID ?? 'academy';
const secretFile = process.env.CLIENT_SECRET_FILE;
const embedded = new Set((process.env.EMBEDDED_COURSES ?? '43').split(','));
if (!secretFile) {
  console.error('CLIENT_SECRET_FILE is not set');
  process.exit(2);
}

/** Sessions by cookie value: the course that was opened and the claims of the launch. */
const sessions = new Map();

async function post(path, contentType, body) {
  const secret = readFileSync(secretFile, 'utf8').trim();
  const answer = await request(handlerURL + path, {
    method: 'POST',
    headers: {
      Authorization: `Basic ${Buffer.from(`${clientID}:${secret}`).toString('base64')}`,
      'Content-Type': contentType,
      Accept: 'application/json',
    },
    body,
  });
  if (answer.status !== 200) throw new Error(`the launch handler answered ${answer.status}`);
  return JSON.parse(answer.text);
}

const redeem = code => post('/launch-codes/redeem', 'application/x-www-form-urlencoded', new URLSearchParams({ code }).toString());

/** Tells the launch handler how far the learner is; fields that are left empty have not changed. */
function report({ claims }, form) {
  const progress = {
    sub: claims.sub, activity: claims.activity, at: new Date(Date.now() - 1000 * Number(form.ago || 0)).toISOString(),
    ...(form.percent && { percent: Number(form.percent) }),
    ...(form.completed && { completed: true }),
    ...(form.given && { score: { given: Number(form.given), maximum: Number(form.maximum) } }),
  };
  return post('/progress', 'application/json', JSON.stringify(progress));
}

function sendRefusal(res, status, why, headers) {
  sendHTML(res, status, 'You are not signed in', `<p data-testid="refused">${escapeHTML(why)}</p>
<p>Open the activity again from your own learning environment.</p>`, headers);
}

function sendCourse(res, session, headers) {
  const { claims } = session;
  const rows = {
    name: claims.name, activity: claims.activity_title, role: claims.role, platform: claims.platform, version: claims.lti_version,
    course: claims.context?.title, email: claims.email,
  };
  sendHTML(res, 200, claims.activity_title, `<p>Welcome, <strong data-testid="learner-name">${escapeHTML(rows.name)}</strong>.</p>
<table>
<tr><th scope="row">Activity</th><td data-testid="activity">${escapeHTML(rows.activity)}</td></tr>
<tr><th scope="row">Role</th><td data-testid="role">${escapeHTML(rows.role)}</td></tr>
<tr><th scope="row">Email</th><td data-testid="email">${escapeHTML(rows.email)}</td></tr>
<tr><th scope="row">Coming from</th><td data-testid="platform">${escapeHTML(rows.platform)}</td></tr>
<tr><th scope="row">Course there</th><td data-testid="context">${escapeHTML(rows.course)}</td></tr>
<tr><th scope="row">LTI version</th><td data-testid="lti-version">${escapeHTML(rows.version)}</td></tr>
<tr><th scope="row">Session</th><td data-testid="session">${escapeHTML(session.name)}</td></tr>
</table>
<form method="post"><fieldset><legend>Report progress</legend>
<label>Points <input name="given"></label> <label>of <input name="maximum" value="10"></label>
<label>Percent <input name="percent"></label> <label>Seconds ago <input name="ago"></label>
<label><input type="checkbox" name="completed"> Completed</label> <button data-testid="report">Report</button>
<output data-testid="reported">${session.reports ?? 0}</output></fieldset></form>`, headers);
}

await serve(port, async (req, res, url) => {
  const course = url.pathname.match(/^\/courses\/([\w-]+)$/)?.[1];
  if (url.pathname === '/') return sendHTML(res, 200, 'Acme Academy', '<p>Courses are opened from other learning environments.</p>');
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
    const id = randomBytes(24).toString('base64url');
    sessions.set(id, { course, claims, name: `session ${sessions.size + 1}` });
    url.searchParams.delete('lti_launch_code');
    return redirect(res, url.pathname + url.search, {
      ...headers,
      'Set-Cookie': `academy_session=${id}; Path=/; HttpOnly; ${embedded.has(course) ? 'SameSite=None; Secure; Partitioned' : 'SameSite=Lax'}`,
    });
  }
  const session = sessions.get(parseCookies(req.headers.cookie).academy_session);
  if (session?.course !== course) return sendRefusal(res, 401, 'There is no session for this course.', headers);
  if (req.method === 'POST') {
    await report(session, await readForm(req));
    session.reports = (session.reports ?? 0) + 1;
    return redirect(res, url.pathname + url.search, headers);
  }
  sendCourse(res, session, headers);
});
console.log(`academy: http://academy.localhost:${port}`);
