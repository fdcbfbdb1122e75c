// A strict tool of LTI 1.3, on jose and openid-client: it accepts what the specifications say, shows what they do not
// (judge.mjs), and calls each service the way it is told to.
//
//   node tool-strict.mjs tool-strict.json
//
// TOOL_PORT  port to listen on (9408); the address is http://exam.localhost:<port>
// The configuration; everything else is discovered:
//   {
//     "issuer": "http://lti.localhost:9402", "clientID": "exam", "deploymentID": "exam",
//     "configurationURL": "http://lti.localhost:9402/tools/exam/.well-known/openid-configuration"
//   }
//
// For the platform: the login initiation is /login, the redirect URI is /launch, the public keys are /jwks.json; any
// other address of this site may be a target. The key is new at every start.
//
// After a launch the page shows it as JSON: {"launch": 1, "boundBy": "cookie" or "storage", "claims": {…},
// "violations": ["…"], …}. GET /launches lists them all. A refusal says why.
//
// GET /drive?call=… is for programs on this machine. It answers {"status", "headers", "body"} of the platform; a body is
// parsed if it is JSON. The calls, each after a launch (launch=<number>, else the last one):
//
// configuration        the OpenID configuration with its violations
// token                an access token: scope=<one> <other> (all that the launch names); assertion.<claim>=<value> sets a
//                      claim of the client assertion
// line-items           GET; resource_link_id, resource_id, tag, limit; follow=1 reads further pages, into "more"
// create               POST body=<JSON>
// line-item, update, delete   GET, PUT body=<JSON>, DELETE of url=<line item> (that of the launch)
// score                POST to url=<line item> (that of the launch): given, maximum, activityProgress, gradingProgress,
//                      comment, timestamp, user (that of the launch); like=moodle writes it the way Moodle does; or body=<JSON>
// results              GET; url=<line item>, user_id, limit; follow=1
// members              GET; role, limit, rlid; follow=1
//
// With each service: scope=… for the token, or token=<another token>; type=… for another Content-Type or Accept;
// address=… for another address altogether. If no token is given the answer is that, with "step": "token".
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { calculateJwkThumbprint, createRemoteJWKSet, customFetch, exportJWK, generateKeyPair, jwtVerify } from 'jose';
import * as oidc from 'openid-client';
import { judgeClaims, judgeConfiguration, judgeHeader } from './judge.mjs';
import { escapeHTML, fetchLocal, parseCookies, readText, redirect, request, sendHTML, sendJSON, serve } from './web.mjs';

const port = Number(process.env.TOOL_PORT ?? 9408);
const here = `http://exam.localhost:${port}`;
if (!process.argv[2]) {
  console.error('usage: node tool-strict.mjs tool-strict.json');
  process.exit(2);
}
const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));

const { privateKey, publicKey } = await generateKeyPair('RS256');
const jwk = await exportJWK(publicKey);
const kid = await calculateJwkThumbprint(jwk);

const ags = 'https://purl.imsglobal.org/spec/lti-ags';
const nrps = 'https://purl.imsglobal.org/spec/lti-nrps';
const membersScope = `${nrps}/scope/contextmembership.readonly`;

/** Logins under way, by state. */
const logins = new Map();
const loginLife = 10 * 60_000;
const usedNonces = new Set();
const launches = [];

/** The platform as openid-client knows it; assertion overrides claims of client assertions. */
async function platform({ assertion = {}, fetch = fetchLocal } = {}) {
  let config;
  const authentication = oidc.PrivateKeyJwt({ key: privateKey, kid }, {
    // Security 1.0 section 4.1.1: the audience is the token endpoint, unless the platform names another.
    [oidc.modifyAssertion]: (_, claims) => {
      const { token_endpoint: endpoint, authorization_server: server } = config.serverMetadata();
      Object.assign(claims, { aud: server ?? endpoint }, assertion);
    },
  });
  config = await oidc.discovery(new URL(settings.configurationURL), settings.clientID, undefined, authentication, {
    execute: [oidc.allowInsecureRequests], [oidc.customFetch]: fetchLocal,
  });
  config[oidc.customFetch] = fetch;
  return config;
}

let keys;
/** The platform's keys, as jose keeps them: read again for an unknown key ID. */
const keySet = address => keys ??= createRemoteJWKSet(new URL(address), { [customFetch]: fetchLocal, cooldownDuration: 0 });

function sendRefusal(res, status, why) {
  sendHTML(res, status, 'The launch was refused', `<p data-testid="refused">${escapeHTML(why)}</p>`);
}

/** Parameters by name. A name that comes twice is an error (RFC 6749 section 3.1). */
function parameters(text) {
  const params = new URLSearchParams(text);
  const twice = [...params.keys()].find(name => params.getAll(name).length > 1);
  if (twice) throw new Error(`${twice} occurs twice`);
  return Object.fromEntries(params);
}

const cookieName = state => `exam_${state.slice(0, 12)}`;

/**
 * Runs in a page: stores or reads a value at the platform (LTI postMessage Storage 0.1), in the frame that its
 * capabilities name, or else the login initiation.
 */
async function usePlatformStorage(origin, frame, message) {
  const platform = window.opener ?? window.parent;
  if (platform === window) throw new Error('there is no platform around this page');
  const ask = (target, targetOrigin, question) => new Promise((resolve, reject) => {
    const id = crypto.randomUUID();
    const end = (settle, value) => {
      clearTimeout(timer);
      removeEventListener('message', listen);
      settle(value);
    };
    const timer = setTimeout(() => end(reject, new Error(`the platform does not answer ${question.subject}`)), 1000);
    const listen = ({ data, origin: from }) => {
      if (data?.message_id !== id || data.subject !== `${question.subject}.response`) return;
      if (targetOrigin !== '*' && from !== targetOrigin) return;
      if (data.error) end(reject, new Error(`the platform refuses ${question.subject}: ${data.error.code}`));
      else end(resolve, data);
    };
    addEventListener('message', listen);
    target.postMessage({ ...question, message_id: id }, targetOrigin);
  });
  const { supported_messages: supported } = await ask(platform, '*', { subject: 'lti.capabilities' });
  const capability = supported.find(({ subject }) => subject === message.subject);
  if (!capability) throw new Error(`the platform does not support ${message.subject}`);
  const name = capability.frame ?? frame;
  return ask(name === '_parent' ? platform : platform.frames[name], origin, message);
}

/** A call of usePlatformStorage for a script in a page. */
const storageCall = (...args) => `(${usePlatformStorage})(${args.map(arg => JSON.stringify(arg).replaceAll('<', '\\u003c')).join(', ')})`;

/** Login initiation: Security 1.0 section 5.1.1.1, Core section 4.1. */
async function beginLogin(req, res, url) {
  let params;
  try {
    params = parameters(req.method === 'POST' ? await readText(req) : url.search);
  } catch (error) {
    return sendRefusal(res, 400, error.message);
  }
  const { iss, login_hint: hint, target_link_uri: target, lti_message_hint: messageHint, client_id: clientID,
    lti_deployment_id: deploymentID, lti_storage_target: storageTarget } = params;
  const known = ['iss', 'login_hint', 'target_link_uri', 'lti_message_hint', 'client_id', 'lti_deployment_id', 'lti_storage_target'];
  const wrong = Object.keys(params).find(name => !known.includes(name) || params[name] === '')
    ?? (iss !== settings.issuer && 'iss') ?? '';
  if (wrong) return sendRefusal(res, 400, `the login initiation has a wrong ${wrong}`);
  if (!hint) return sendRefusal(res, 400, 'the login initiation lacks login_hint');
  if (!URL.canParse(target) || new URL(target).origin !== here) return sendRefusal(res, 400, 'target_link_uri is not of this site');
  if (clientID !== undefined && clientID !== settings.clientID) return sendRefusal(res, 400, 'client_id is not that of this tool');
  if (deploymentID !== undefined && deploymentID !== settings.deploymentID) return sendRefusal(res, 400, 'lti_deployment_id is not known');

  const state = oidc.randomState();
  const nonce = oidc.randomNonce();
  const proof = randomBytes(24).toString('base64url');
  const to = oidc.buildAuthorizationUrl(await platform(), {
    scope: 'openid', response_type: 'id_token', response_mode: 'form_post', prompt: 'none', redirect_uri: `${here}/launch`,
    login_hint: hint, state, nonce, ...(messageHint !== undefined && { lti_message_hint: messageHint }),
  });
  const now = Date.now();
  for (const [old, { until }] of logins) if (until < now) logins.delete(old);
  logins.set(state, { nonce, proof, target, storageTarget, origin: to.origin, until: now + loginLife, method: req.method });
  const headers = {
    'Referrer-Policy': 'no-referrer',
    'Set-Cookie': `${cookieName(state)}=${proof}; Path=/; HttpOnly; Secure; SameSite=None; Max-Age=${loginLife / 1000}`,
  };
  if (storageTarget === undefined) return redirect(res, to.href, headers);
  // Cookies may not come back: the platform keeps the proof, too. If neither works the launch is refused.
  const put = storageCall(to.origin, storageTarget, { subject: 'lti.put_data', key: `lti_state_${state}`, value: proof });
  sendHTML(res, 200, 'Signing in', `<p><a data-testid="continue" href="${escapeHTML(to.href)}">Continue</a></p>
<script>${put}.catch(error => console.error(error.message)).then(() => location.replace(document.querySelector('a').href))</script>`, headers);
}

/** A page that reads the proof at the platform and posts the form again with it. */
function sendProofPage(res, form, login) {
  const get = storageCall(login.origin, login.storageTarget, { subject: 'lti.get_data', key: `lti_state_${form.state}` });
  const inputs = Object.entries({ ...form, proof: '' })
    .map(([name, value]) => `<input type="hidden" name="${escapeHTML(name)}" value="${escapeHTML(value)}">`).join('\n');
  sendHTML(res, 200, 'Signing in', `<form method="post" action="/launch">
${inputs}
</form>
<p id="why"></p>
<script>${get}.then(({ value }) => { document.forms[0].proof.value = value ?? ''; document.forms[0].submit(); }, error => {
  document.getElementById('why').dataset.testid = 'refused';
  document.getElementById('why').textContent = 'This browser sends no cookies here, and ' + error.message + '.';
})</script>`);
}

/** The authentication response: Security 1.0 section 5.1.3, then Core section 5. */
async function finishLogin(req, res) {
  let form;
  try {
    form = parameters(await readText(req));
  } catch (error) {
    return sendRefusal(res, 400, error.message);
  }
  const { state = '', proof, id_token: token, lti_storage_target: storageTarget, error, error_description: description, ...unknown } = form;
  const login = logins.get(state);
  if (!login || login.until < Date.now()) return sendRefusal(res, 400, 'the state is not of a login that is under way');
  const cookie = parseCookies(req.headers.cookie)[cookieName(state)];
  if (cookie === undefined && proof === undefined && login.storageTarget !== undefined) return sendProofPage(res, form, login);
  if ((cookie ?? proof) !== login.proof) return sendRefusal(res, 403, 'the state is not of this browser');
  logins.delete(state);
  if (error) return sendRefusal(res, 403, `the platform says ${error}: ${description ?? ''}`);

  const metadata = (await platform()).serverMetadata();
  let verified;
  try {
    verified = await jwtVerify(token ?? '', keySet(metadata.jwks_uri), {
      algorithms: ['RS256'], issuer: settings.issuer, audience: settings.clientID, clockTolerance: 5, maxTokenAge: '5m',
      requiredClaims: ['exp', 'iat', 'nonce'],
    });
  } catch (refused) {
    return sendRefusal(res, 403, `the ID token is not valid: ${refused.message}`);
  }
  const { payload: claims, protectedHeader: header } = verified;
  if (claims.nonce !== login.nonce || usedNonces.has(claims.nonce)) return sendRefusal(res, 403, 'the nonce is not that of this login');
  usedNonces.add(claims.nonce);

  const violations = [
    ...judgeHeader(header),
    ...judgeClaims(claims, { clientID: settings.clientID, deploymentID: settings.deploymentID, targetLinkURI: login.target }),
    ...Object.keys(unknown).map(name => `the form has an unknown ${name}`),
    // LTI Client Side postMessages: the tool looks for it in both messages.
    ...(storageTarget === login.storageTarget ? [] : ['lti_storage_target of the launch is not that of the login']),
    ...judgeConfiguration(metadata, { issuer: settings.issuer, address: settings.configurationURL }).map(found => `configuration: ${found}`),
  ];
  const launch = { launch: launches.length + 1, boundBy: cookie === undefined ? 'storage' : 'cookie', login: login.method, header, claims, violations };
  launches.push(launch);
  sendHTML(res, 200, 'Exam', `<p>Welcome, <strong data-testid="learner-name">${escapeHTML(claims.name ?? 'stranger')}</strong>.</p>
<p>Violations: <output data-testid="violations">${violations.length}</output></p>
<pre id="launch">${escapeHTML(JSON.stringify(launch, null, 2))}</pre>`);
}

/** An answer as JSON: its body parsed, if it can be. */
function describe({ status, headers, text }) {
  let body = text;
  try {
    body = JSON.parse(text);
  } catch { /* not JSON */ }
  return { status, headers, body };
}

/** Asks for an access token; resolves to the answer of the platform. */
async function getToken(scope, assertion = {}) {
  let answer;
  const config = await platform({
    assertion,
    fetch: async (...args) => {
      const response = await fetchLocal(...args);
      answer = { status: response.status, headers: Object.fromEntries(response.headers), text: await response.clone().text() };
      return response;
    },
  });
  const violation = await oidc.clientCredentialsGrant(config, { scope }).then(() => undefined, error => error.message);
  return { ...describe(answer), ...(violation && { violation }) };
}

/** Moodle writes numbers as strings and time zones without a colon. */
const likeMoodle = score => ({
  ...score, scoreGiven: Number(score.scoreGiven).toFixed(5), scoreMaximum: Number(score.scoreMaximum).toFixed(5),
  timestamp: score.timestamp.replace(/\.\d+/, '').replace('Z', '+0000'),
});

function scoreOf(query, claims) {
  const score = {
    userId: query.user ?? claims.sub, timestamp: query.timestamp ?? new Date().toISOString(),
    activityProgress: query.activityProgress ?? 'Completed', gradingProgress: query.gradingProgress ?? 'FullyGraded',
    ...(query.given !== undefined && { scoreGiven: Number(query.given), scoreMaximum: Number(query.maximum) }),
    ...(query.comment !== undefined && { comment: query.comment }),
  };
  return JSON.stringify(query.like === 'moodle' ? likeMoodle(score) : score);
}

/** An address with something after its path and in its query, which it may have already (AGS sections 3.3 and 3.4). */
function within(address, { path = '', query = {} }) {
  const url = new URL(address);
  url.pathname += path;
  for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value);
  return url.href;
}

const item = 'application/vnd.ims.lis.v2.lineitem+json';

/** The services: how each is asked for, with which scope. */
function serviceCall(call, query, claims) {
  const { lineitems, lineitem } = claims[`${ags}/claim/endpoint`] ?? {};
  const one = query.url ?? lineitem;
  const { resource_link_id, resource_id, tag, limit, user_id, role, rlid, body } = query;
  switch (call) {
    case 'line-items': return { scope: `${ags}/scope/lineitem.readonly`, type: 'application/vnd.ims.lis.v2.lineitemcontainer+json',
      address: within(lineitems, { query: { resource_link_id, resource_id, tag, limit } }) };
    case 'create': return { scope: `${ags}/scope/lineitem`, method: 'POST', type: item, address: lineitems, body };
    case 'line-item': return { scope: `${ags}/scope/lineitem.readonly`, type: item, address: one };
    case 'update': return { scope: `${ags}/scope/lineitem`, method: 'PUT', type: item, address: one, body };
    case 'delete': return { scope: `${ags}/scope/lineitem`, method: 'DELETE', type: item, address: one };
    case 'score': return { scope: `${ags}/scope/score`, method: 'POST', type: 'application/vnd.ims.lis.v1.score+json',
      address: within(one, { path: '/scores' }), body: body ?? scoreOf(query, claims) };
    case 'results': return { scope: `${ags}/scope/result.readonly`, type: 'application/vnd.ims.lis.v2.resultcontainer+json',
      address: within(one, { path: '/results', query: { user_id, limit } }) };
    case 'members': return { scope: membersScope, type: 'application/vnd.ims.lti-nrps.v2.membershipcontainer+json',
      address: within(claims[`${nrps}/claim/namesroleservice`].context_memberships_url, { query: { role, limit, rlid } }) };
    default: throw new Error(`there is no call ${call}`);
  }
}

/** The next page that a Link header names (RFC 8288). */
const nextOf = ({ headers }) => headers.link?.match(/<([^>]*)>\s*;\s*rel="?next"?/)?.[1];

async function drive(query) {
  const { claims } = launches[(query.launch ?? launches.length) - 1] ?? {};
  if (query.call === 'configuration') {
    const answer = describe(await request(settings.configurationURL));
    return { ...answer, violations: judgeConfiguration(answer.body, { issuer: settings.issuer, address: settings.configurationURL }) };
  }
  if (!claims) throw new Error('there was no such launch');
  if (query.call === 'token') {
    const assertion = Object.fromEntries(Object.entries(query).filter(([name]) => name.startsWith('assertion.'))
      .map(([name, value]) => [name.slice('assertion.'.length), /^\d+$/.test(value) ? Number(value) : value]));
    const all = [...claims[`${ags}/claim/endpoint`]?.scope ?? [], ...claims[`${nrps}/claim/namesroleservice`] ? [membersScope] : []];
    return getToken(query.scope ?? all.join(' '), assertion);
  }
  const { scope, method = 'GET', type, address, body } = serviceCall(query.call, query, claims);
  let token = query.token;
  if (token === undefined) {
    const granted = await getToken(query.scope ?? scope);
    if (granted.status !== 200) return { ...granted, step: 'token' };
    token = granted.body.access_token;
  }
  const ask = async url => describe(await request(url, {
    method, body, headers: {
      Authorization: `Bearer ${token}`, [method === 'GET' ? 'Accept' : 'Content-Type']: query.type ?? type,
      ...(body !== undefined && { 'Content-Length': Buffer.byteLength(body) }),
    },
  }));
  const answer = await ask(query.address ?? address);
  if (query.follow !== '1') return answer;
  const more = [];
  for (let next = nextOf(answer); next && more.length < 1000; next = nextOf(more.at(-1))) more.push(await ask(next));
  return { ...answer, more };
}

await serve(port, async (req, res, url) => {
  switch (url.pathname) {
    case '/login': return beginLogin(req, res, url);
    case '/launch': return req.method === 'POST' ? finishLogin(req, res) : sendRefusal(res, 405, 'a launch is a POST');
    case '/jwks.json': return sendJSON(res, 200, { keys: [{ ...jwk, kid, alg: 'RS256', use: 'sig' }] });
    case '/launches': return sendJSON(res, 200, launches);
    case '/drive':
      // This site listens on the loopback address only; pages of other sites must not drive it either.
      if (!['same-origin', 'none', undefined].includes(req.headers['sec-fetch-site'])) return sendJSON(res, 403, { error: 'not from another site' });
      try {
        return sendJSON(res, 200, await drive(parameters(url.search)));
      } catch (error) {
        return sendJSON(res, 400, { error: error.message });
      }
    default: return sendHTML(res, 404, 'Not found', '');
  }
});
console.log(`strict tool: ${here}`);
