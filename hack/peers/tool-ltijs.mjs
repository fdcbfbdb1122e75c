// A tool that others built: unmodified ltijs, with its data in PostgreSQL. It shows what a launch brought, and has a
// button for each service of the platform.
//
//   DATABASE_URL=postgres://… node tool-ltijs.mjs [tool-ltijs.json]
//
// TOOL_HOST     host of its address (simulation.localhost), which is http://<host>:<port>
// TOOL_PORT     port to listen on (9407)
// DATABASE_URL  an empty database, or the one of an earlier run; postgres://user:password@/name?host=/directory for a
//               Unix socket
// The configuration is what ltijs.registerPlatform takes; without it platforms register at /register, by themselves:
//   {
//     "url": "http://lti.localhost:9402", "name": "Acme Academy", "clientId": "simulation",
//     "authenticationEndpoint": "http://lti.localhost:9402/tools/simulation/authorize",
//     "accesstokenEndpoint": "http://lti.localhost:9402/tools/simulation/token",
//     "authConfig": {"method": "JWK_SET", "key": "http://lti.localhost:9402/tools/simulation/jwks.json"}
//   }
//
// For the platform: the login initiation is /login, the public keys are /keys, and the launch and redirect URI is /.
// A deep linking request shows two exercises to choose from, /?exercise=knots and /?exercise=anchors.
// The services answer with JSON; each takes the parameter ltik, which is in the address of the page after a launch:
//
// /score?given=8&maximum=10&activityProgress=Completed&gradingProgress=FullyGraded&comment=…&user=…
// /results?user=…&limit=…         results of the activity's line item; &url=… for a next page
// /line-items?limit=…&tag=…       line items of the course; &url=… for a next page
// /members?limit=…&role=…&pages=… members of the course; pages=0 for all pages, &url=… for a next page
import { readFileSync } from 'node:fs';
import { databaseFromEnvironment, start } from './ltijs.mjs';
import { Provider as lti } from 'ltijs';
import { escapeHTML, sendHTML, sendJSON } from './web.mjs';

const port = Number(process.env.TOOL_PORT ?? 9407);
const here = `http://${process.env.TOOL_HOST ?? 'simulation.localhost'}:${port}`;
const configFile = process.argv[2];
const exercises = [
  { name: 'knots', title: 'Knots & hitches', text: 'Tie the figure eight: one "bight", two loops.', maximum: 10 },
  { name: 'anchors', title: 'Ankers: één, twee', text: 'Where to fasten a rope.', maximum: 20 },
];
const exerciseURL = exercise => `${here}/?exercise=${exercise.name}`;

lti.setup('a key for this machine only', {
  plugin: databaseFromEnvironment('tool-ltijs.mjs [tool-ltijs.json]'),
}, {
  // ltijs refuses plain HTTP otherwise: a browser that blocks third-party cookies then works without any.
  devMode: true,
  cookies: { secure: true, sameSite: 'None' },
  // ltijs takes the target link URI, without its query, for the redirect URI.
  dynReg: {
    url: here, name: 'Rope Workshop', description: 'Exercises with ropes', autoActivate: true,
    redirectUris: [`${here}/`],
  },
});

lti.onConnect((token, req, res) => {
  const { platformContext: context, ...person } = token;
  const button = (path, text, fields = {}) => `<form action="${path}">
${Object.entries({ ...fields, ltik: res.locals.ltik }).map(([name, value]) =>
    `<input type="hidden" name="${name}" value="${escapeHTML(value)}">`).join('\n')}
<button data-testid="${path.slice(1)}">${text}</button></form>`;
  sendHTML(res, 200, 'Simulation', `<p>Welcome, <strong data-testid="learner-name">${escapeHTML(person.userInfo?.name)}</strong>.</p>
${button('/score', 'Score 8 of 10', { given: 8, maximum: 10, activityProgress: 'Completed', gradingProgress: 'FullyGraded' })}
${button('/results', 'Results')} ${button('/line-items', 'Line items')} ${button('/members', 'Members')}
<pre id="launch">${escapeHTML(JSON.stringify({
    user: person.user, ...person.userInfo, roles: context.roles, context: context.context, resource: context.resource,
    custom: context.custom, launchPresentation: context.launchPresentation, targetLinkUri: context.targetLinkUri,
    messageType: context.messageType, endpoint: context.endpoint, namesRoles: context.namesRoles, lis: context.lis,
    platform: person.platformInfo, iss: person.iss, clientId: person.clientId, deploymentId: person.deploymentId,
  }, null, 2))}</pre>`);
});

lti.onDeepLinking((token, req, res) => sendHTML(res, 200, 'Exercises', `<form method="post" action="/choose?ltik=${encodeURIComponent(res.locals.ltik)}">
${exercises.map(({ name, title }) =>
    `<p><label><input type="checkbox" name="exercise" value="${name}" data-testid="${name}"> ${escapeHTML(title)}</label></p>`).join('\n')}
<button data-testid="choose">Add</button></form>`));

lti.app.post('/choose', async (req, res) => {
  const chosen = exercises.filter(({ name }) => [req.body.exercise].flat().includes(name)).map(exercise => ({
    type: 'ltiResourceLink', url: exerciseURL(exercise), title: exercise.title, text: exercise.text,
    custom: { exercise: exercise.name }, window: {}, lineItem: { scoreMaximum: exercise.maximum, label: exercise.title },
  }));
  res.type('html').send(await lti.DeepLinking.createDeepLinkingForm(res.locals.token, chosen, { message: 'Good choice' }));
});

/** Answers with what a service of ltijs returns, or with its error and what the platform said. */
function serve(path, call) {
  lti.app.get(path, async (req, res) => {
    try {
      sendJSON(res, 200, await call(res.locals.token, req.query));
    } catch (error) {
      sendJSON(res, 502, { error: error.message, status: error.response?.statusCode, body: error.response?.body });
    }
  });
}

const lineItemOf = token => token.platformContext.endpoint?.lineitem;

serve('/score', (token, query) => lti.Grade.submitScore(token, lineItemOf(token), {
  ...(query.given !== undefined && { scoreGiven: Number(query.given), scoreMaximum: Number(query.maximum) }),
  ...(query.comment !== undefined && { comment: query.comment }),
  ...(query.user !== undefined && { userId: query.user }),
  activityProgress: query.activityProgress ?? 'Completed', gradingProgress: query.gradingProgress ?? 'FullyGraded',
}));
serve('/results', (token, { user: userId, limit, url }) => lti.Grade.getScores(token, lineItemOf(token), { userId, limit, url }));
serve('/line-items', (token, { limit, tag, url }) => lti.Grade.getLineItems(token, { limit, tag, url }));
serve('/members', (token, { limit, role, url, pages = '1' }) => lti.NamesAndRoles.getMembers(token, {
  limit, role, url, pages: pages === '0' ? false : Number(pages),
}));

await start(port, configFile && JSON.parse(readFileSync(configFile, 'utf8')), `ltijs tool: ${here}`);
