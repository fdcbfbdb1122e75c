// A learning platform: it launches external tools over LTI 1.3 and LTI 1.2.
//
//   LTI_URL=http://lti.localhost:9402 node platform.mjs platform.json
//
// LMS_PORT    port to listen on (9401); the address is http://lms.localhost:<port>
// LTI_URL     where the tool is; only paths in the configuration ("/activities/…") are completed with it
// LMS_CONFIG  the configuration file, unless it is the first argument. It is read anew for every page, so a
//             registration made while the platform runs counts at once:
//   {
//     "lti13": {
//       "issuer": "http://lms.localhost:9401",
//       "clientID": "demo-client", "deploymentID": "1",
//       "loginInitiationURL": "/platforms/demo-lms/login",
//       "redirectURIs": ["/platforms/demo-lms/launch"],
//       "jwksURL": "/platforms/demo-lms/jwks.json",
//       "activities": [{"name": "working-at-height", "title": "Working safely at height", "resourceURL": "/activities/working-at-height"}]
//     },
//     "lti12": [{"name": "working-at-height", "title": "Working safely at height",
//       "launchURL": "/activities/working-at-height/launch", "consumerKey": "…", "sharedSecret": "…"}]
//   }
//
// A launch over LTI 1.3 in a frame, /frame?version=13&place=frame&user=learner&activity=<name>, offers platform storage when
// storage=_parent stands behind it; with storage=silent it says so, and never answers.
import { createHash, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { calculateJwkThumbprint, createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify, SignJWT } from 'jose';
import oauthSignature from 'oauth-signature';
import { escapeHTML, readForm, readText, request, sendHTML, sendJSON, sendPostForm, serve } from './web.mjs';

const port = Number(process.env.LMS_PORT ?? 9401);
const here = `http://lms.localhost:${port}`;
const toolURL = process.env.LTI_URL ?? 'http://lti.localhost:9402';
const configFile = process.argv[2] ?? process.env.LMS_CONFIG;
if (!configFile) {
  console.error('usage: node platform.mjs platform.json');
  process.exit(2);
}

const users = {
  learner: { id: '17', given: 'Lena', family: 'Learner', email: 'lena@example.org', username: 'lena', role: 'Learner' },
  teacher: { id: '4', given: 'Tom', family: 'Teacher', email: 'tom@example.org', username: 'tom', role: 'Instructor' },
  // The academy has an account with this address already, and does not believe this system about it.
  guest: { id: '23', given: 'Gus', family: 'Guest', email: 'gus@example.net', username: 'gus', role: 'Learner' },
};
const course = { id: '2', label: 'SAFE101', title: 'Safety — Ünïcode & "quotes"' };
const launchLife = 5 * 60_000;
const claim = name => `https://purl.imsglobal.org/spec/lti/claim/${name}`;

const { privateKey, publicKey } = await generateKeyPair('RS256');
const jwk = await exportJWK(publicKey);
const kid = (await calculateJwkThumbprint(jwk)).slice(0, 20);

/** LTI 1.3 launches that wait for the tool's authentication request, by the exact text of their lti_message_hint. */
const waiting = new Map();

function readConfig() {
  const config = JSON.parse(readFileSync(configFile, 'utf8'));
  const absolute = address => new URL(address, toolURL).href;
  const { lti13, lti12 = [] } = config;
  return {
    lti13: lti13 && {
      ...lti13,
      issuer: lti13.issuer ?? here,
      loginInitiationURL: absolute(lti13.loginInitiationURL),
      redirectURIs: lti13.redirectURIs.map(absolute),
      jwksURL: lti13.jwksURL && absolute(lti13.jwksURL),
      activities: lti13.activities.map(activity => ({ ...activity, resourceURL: absolute(activity.resourceURL) })),
    },
    lti12: lti12.map(link => ({ ...link, launchURL: absolute(link.launchURL) })),
  };
}

/** The links of one version, each with the number that the course knows it by. */
const linksOf = (config, version) => (version === '13' ? config.lti13?.activities ?? [] : config.lti12)
  .map((link, index) => ({ ...link, id: String(version === '13' ? 101 + index : 201 + index) }));

function sendIndex(res, config) {
  const rows = ['13', '12'].flatMap(version => linksOf(config, version).map(link => {
    const buttons = Object.keys(users).flatMap(user => ['window', 'frame'].map(place => `<td>
<form method="get" action="${place === 'window' ? '/open' : '/frame'}"${place === 'window' ? ' target="_blank"' : ''}>
<input type="hidden" name="version" value="${version}"><input type="hidden" name="user" value="${user}">
<input type="hidden" name="place" value="${place}"><input type="hidden" name="activity" value="${escapeHTML(link.name)}">
<button data-testid="launch-${version}-${user}-${place}-${escapeHTML(link.name)}">${escapeHTML(users[user].given)}, ${place}</button>
</form></td>`)).join('\n');
    return `<tr><th scope="row">${escapeHTML(link.title)} <small>(${escapeHTML(link.name)})</small></th><td>LTI 1.${version[1]}</td>\n${buttons}</tr>`;
  }));
  sendHTML(res, 200, course.title, `<p>Open an activity as ${Object.values(users).map(user => `${user.given} ${user.family}`).join(' or ')},
in a window of its own or in a frame of this site.</p>
<table><thead><tr><th>Activity</th><th>Version</th><th colspan="6">Open as</th></tr></thead>
<tbody>${rows.join('\n')}</tbody></table>`);
}

const outcome = (link, user) => ({
  lis_outcome_service_url: `${here}/service/outcomes`,
  lis_result_sourcedid: JSON.stringify({ data: { instanceid: link.id, userid: user.id, typeid: '1' }, hash: randomUUID() }),
});

/** The form that starts a launch: the login initiation of LTI 1.3, or the signed launch itself of LTI 1.2. */
function sendLaunch(res, config, query) {
  const version = query.get('version');
  const user = users[query.get('user')];
  const place = query.get('place') === 'frame' ? 'iframe' : 'window';
  const link = linksOf(config, version).find(candidate => candidate.name === query.get('activity'));
  if (!user || !link) return sendHTML(res, 404, 'No such activity', '');
  const title = `Opening ${link.title}`;
  if (version === '12') return sendPostForm(res, title, link.launchURL, launchForm12(link, user, place));

  const hint = JSON.stringify({ cmid: Number(link.id), launchid: `ltilaunch${link.id}_${randomUUID()}` });
  const storage = query.get('storage') ? { lti_storage_target: '_parent' } : {};
  const now = Date.now();
  for (const [key, launch] of waiting) if (launch.expires < now) waiting.delete(key);
  waiting.set(hint, { link, user, place, storage, expires: now + launchLife });
  sendPostForm(res, title, config.lti13.loginInitiationURL, {
    iss: config.lti13.issuer,
    target_link_uri: link.resourceURL,
    login_hint: user.id,
    lti_message_hint: hint,
    client_id: config.lti13.clientID,
    lti_deployment_id: config.lti13.deploymentID,
    ...storage,
  });
}

/** Runs in a page: platform storage (LTI postMessage Storage 0.1) for the tool in its frame. */
function answerTool(toolOrigin) {
  const stored = {};
  addEventListener('message', ({ data, source, origin }) => {
    if (origin !== toolOrigin || !data?.message_id) return;
    const { subject, message_id: id, key, value } = data;
    const answers = {
      'lti.capabilities': () => ({ supported_messages: Object.keys(answers).map(name => ({ subject: name })) }),
      'lti.put_data': () => ({ key, value: stored[key] = value }),
      'lti.get_data': () => ({ key, value: stored[key] ?? null }),
    };
    const answer = answers[subject]?.() ?? { error: { code: 'unsupported_subject', message: 'this is not supported' } };
    source.postMessage({ subject: `${subject}.response`, message_id: id, ...answer }, origin);
  });
}

/** The page with an activity in a frame. */
function sendFrame(res, url) {
  const script = url.searchParams.get('storage') === '_parent'
    ? `<script>(${answerTool})(${JSON.stringify(new URL(toolURL).origin)})</script>` : '';
  sendHTML(res, 200, course.title, `${script}<iframe data-testid="tool" title="Activity" src="/open${escapeHTML(url.search)}"></iframe>`);
}

function launchForm12(link, user, place) {
  const form = {
    oauth_version: '1.0',
    oauth_nonce: randomUUID().replaceAll('-', ''),
    oauth_timestamp: String(Math.floor(Date.now() / 1000)),
    oauth_consumer_key: link.consumerKey,
    oauth_callback: 'about:blank',
    oauth_signature_method: 'HMAC-SHA1',
    lti_message_type: 'basic-lti-launch-request',
    lti_version: 'LTI-1p0',
    resource_link_id: link.id,
    resource_link_title: `${link.title} – één & twee`,
    resource_link_description: 'Opens the tool (a+b=c) *really*!',
    context_id: course.id,
    context_label: course.label,
    context_title: course.title,
    context_type: 'CourseSection',
    user_id: user.id,
    roles: user.role,
    lis_person_name_given: user.given,
    lis_person_name_family: user.family,
    lis_person_name_full: `${user.given} ${user.family}`,
    lis_person_contact_email_primary: user.email,
    lis_person_sourcedid: `SIS-${user.username}`,
    ...(user.role === 'Learner' && outcome(link, user)),
    tool_consumer_info_product_family_code: 'moodle',
    tool_consumer_info_version: '2024100706',
    tool_consumer_instance_guid: 'lms.localhost',
    tool_consumer_instance_name: 'Démo LMS',
    launch_presentation_locale: 'en',
    launch_presentation_document_target: place,
    launch_presentation_return_url: `${here}/?course=${course.id}&activity=${link.id}`,
    ext_user_username: user.username,
    ext_lms: 'moodle-2',
    custom_chapter: '3',
    custom_static: 'one & two',
    custom_empty: '',
  };
  const signature = oauthSignature.generate('POST', link.launchURL, form, link.sharedSecret, undefined, { encodeSignature: false });
  return { ...form, oauth_signature: signature };
}

/** The authentication request of LTI 1.3: answered to a registered redirect URI only, everything else gets a page. */
async function authorize(req, res, config, query) {
  const params = req.method === 'POST' ? await readForm(req) : Object.fromEntries(query);
  const refuse = why => sendHTML(res, 400, 'The tool sent a wrong request', `<p data-testid="refused">${escapeHTML(why)}</p>`);
  const tool = config.lti13;
  if (!tool || params.client_id !== tool.clientID) return refuse('unknown client_id');
  if (!tool.redirectURIs.includes(params.redirect_uri)) return refuse('redirect_uri is not registered');
  if (!params.state) return refuse('state is missing');

  const fail = (error, description) =>
    sendPostForm(res, 'Back to the tool', params.redirect_uri, { error, error_description: description, state: params.state });
  if (params.scope !== 'openid') return fail('invalid_scope', 'scope must be openid');
  if (params.response_type !== 'id_token') return fail('unsupported_response_type', 'response_type must be id_token');
  if (params.response_mode !== 'form_post') return fail('invalid_request', 'response_mode must be form_post');
  if (params.prompt !== 'none') return fail('invalid_request', 'prompt must be none');
  if (!params.nonce) return fail('invalid_request', 'nonce is missing');
  const launch = waiting.get(params.lti_message_hint);
  if (!launch || launch.expires < Date.now()) return fail('invalid_request', 'lti_message_hint is unknown, used or too old');
  if (params.login_hint !== launch.user.id) return fail('access_denied', 'login_hint is not the user who opened the activity');
  waiting.delete(params.lti_message_hint);

  sendPostForm(res, `Opening ${launch.link.title}`, params.redirect_uri, {
    id_token: await signIDToken(tool, launch, params.nonce), state: params.state, ...launch.storage,
  });
}

function signIDToken(tool, { link, user, place }, nonce) {
  const service = `${here}/service`;
  const ags = 'https://purl.imsglobal.org/spec/lti-ags';
  const claims = {
    nonce,
    [claim('deployment_id')]: tool.deploymentID,
    [claim('target_link_uri')]: link.resourceURL,
    [claim('lis')]: { person_sourcedid: `SIS-${user.username}`, course_section_sourcedid: 'COURSE-SAFE-101' },
    [claim('roles')]: [`http://purl.imsglobal.org/vocab/lis/v2/membership#${user.role}`],
    [claim('context')]: { ...course, type: ['CourseSection'] },
    [claim('message_type')]: 'LtiResourceLinkRequest',
    [claim('resource_link')]: { title: link.title, description: 'Opens the tool', id: link.id },
    ...(user.role === 'Learner' && { 'https://purl.imsglobal.org/spec/lti-bo/claim/basicoutcome': outcome(link, user) }),
    given_name: user.given,
    family_name: user.family,
    name: `${user.given} ${user.family}`,
    email: user.email,
    [claim('ext')]: { user_username: user.username, lms: 'moodle-2' },
    [claim('launch_presentation')]: {
      locale: 'en', document_target: place, return_url: `${here}/?course=${course.id}&activity=${link.id}`,
    },
    [claim('tool_platform')]: {
      product_family_code: 'moodle', version: '2024100706', guid: 'lms.localhost', name: 'Démo LMS', description: 'A demonstration platform',
    },
    [claim('version')]: '1.3.0',
    [claim('custom')]: { chapter: '3', static: 'one & two', link_setting_url: `${service}/links/{link_id}/custom` },
    [`${ags}/claim/endpoint`]: {
      scope: ['lineitem', 'lineitem.readonly', 'result.readonly', 'score'].map(scope => `${ags}/scope/${scope}`),
      lineitems: `${service}/${course.id}/lineitems?type_id=2`,
      lineitem: `${service}/${course.id}/lineitems/${link.id}/lineitem?type_id=2`,
    },
    'https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice': {
      context_memberships_url: `${service}/CourseSection/${course.id}/bindings/2/memberships`, service_versions: ['1.0', '2.0'],
    },
  };
  return new SignJWT(claims).setProtectedHeader({ typ: 'JWT', alg: 'RS256', kid })
    .setIssuer(tool.issuer).setAudience(tool.clientID).setSubject(user.id).setIssuedAt().setExpirationTime('60s').sign(privateKey);
}

/** Grades by version, link and user, as a teacher sees them: from 0 to 1. */
const grades = new Map();
const tokens = new Set();
const assertions = new Set();

/** Access tokens (OAuth 2.0 client credentials with a signed assertion, RFC 7523). */
async function sendToken(req, res, config) {
  const form = await readForm(req);
  try {
    const keys = await request(config.lti13.jwksURL);
    const { payload } = await jwtVerify(form.client_assertion, createLocalJWKSet(JSON.parse(keys.text)), {
      algorithms: ['RS256'], issuer: config.lti13.clientID, subject: config.lti13.clientID, audience: `${here}/service/token`,
      requiredClaims: ['jti', 'exp', 'iat'], maxTokenAge: '5m',
    });
    if (assertions.has(payload.jti)) throw new Error('the assertion was used before');
    assertions.add(payload.jti);
  } catch (error) {
    return sendJSON(res, 400, { error: 'invalid_client', error_description: error.message });
  }
  const token = randomUUID();
  tokens.add(token);
  sendJSON(res, 200, { access_token: token, token_type: 'Bearer', expires_in: 3600, scope: form.scope });
}

/** A score of Assignment and Grade Services; of two the one with the later second counts. */
async function takeScore(req, res, link) {
  if (!tokens.has(req.headers.authorization?.replace(/^Bearer /, ''))) return sendJSON(res, 401, { error: 'invalid_token' });
  if (req.headers['content-type'] !== 'application/vnd.ims.lis.v1.score+json') return sendJSON(res, 415, {});
  const score = JSON.parse(await readText(req));
  const key = `13 ${link} ${score.userId}`;
  const at = Math.floor(Date.parse(score.timestamp) / 1000);
  if (grades.get(key)?.at >= at) return sendJSON(res, 409, { error: 'there is a later score' });
  const graded = score.gradingProgress === 'FullyGraded' && score.scoreGiven !== undefined;
  grades.set(key, { at, value: graded ? score.scoreGiven / score.scoreMaximum : null });
  sendJSON(res, 200, {});
}

/** Basic Outcomes: the signature (OAuth 1.0a) covers the body by its hash. */
async function takeOutcome(req, res, config) {
  const body = await readText(req);
  const params = Object.fromEntries([...(req.headers.authorization ?? '').matchAll(/(oauth_[a-z_]+)="([^"]*)"/g)]
    .map(([, name, value]) => [name, decodeURIComponent(value)]));
  const { oauth_signature: signature, ...signed } = params;
  const link = config.lti12.find(({ consumerKey }) => consumerKey === params.oauth_consumer_key);
  const hash = createHash('sha1').update(body).digest('base64');
  const expected = link && oauthSignature.generate('POST', `${here}/service/outcomes`, signed, link.sharedSecret, undefined, { encodeSignature: false });
  const id = body.match(/<sourcedId>(.*?)<\/sourcedId>/s)?.[1].replace(/&(quot|#34|amp|lt|gt);/g, (_, name) => ({ quot: '"', '#34': '"', amp: '&', lt: '<', gt: '>' })[name]);
  const value = body.match(/<textString>(.*?)<\/textString>/s)?.[1];
  const ok = expected && signature === expected && params.oauth_body_hash === hash && id && value !== undefined;
  if (ok) {
    const { data } = JSON.parse(id);
    grades.set(`12 ${data.instanceid} ${data.userid}`, { value: Number(value) });
  }
  res.writeHead(200, { 'Content-Type': 'application/xml' }).end(`<?xml version="1.0" encoding="UTF-8"?>
<imsx_POXEnvelopeResponse xmlns="http://www.imsglobal.org/services/ltiv1p1/xsd/imsoms_v1p0">
<imsx_POXHeader><imsx_POXResponseHeaderInfo><imsx_version>V1.0</imsx_version><imsx_messageIdentifier>${randomUUID()}</imsx_messageIdentifier>
<imsx_statusInfo><imsx_codeMajor>${ok ? 'success' : 'failure'}</imsx_codeMajor><imsx_severity>status</imsx_severity>
<imsx_description/><imsx_messageRefIdentifier>1</imsx_messageRefIdentifier></imsx_statusInfo></imsx_POXResponseHeaderInfo></imsx_POXHeader>
<imsx_POXBody><replaceResultResponse/></imsx_POXBody></imsx_POXEnvelopeResponse>`);
}

await serve(port, async (req, res, url) => {
  const config = readConfig();
  const scores = url.pathname.match(/^\/service\/\w+\/lineitems\/(\d+)\/lineitem\/scores$/);
  if (scores && req.method === 'POST') return takeScore(req, res, scores[1]);
  switch (url.pathname) {
    case '/': return sendIndex(res, config);
    case '/open': return sendLaunch(res, config, url.searchParams);
    case '/frame': return sendFrame(res, url);
    case '/authorize': return authorize(req, res, config, url.searchParams);
    case '/service/token': return sendToken(req, res, config);
    case '/service/outcomes': return takeOutcome(req, res, config);
    case '/grades': return sendJSON(res, 200, Object.fromEntries([...grades].map(([key, { value }]) => [key, value])));
    case '/jwks.json': return sendJSON(res, 200, { keys: [{ ...jwk, kid, alg: 'RS256', use: 'sig' }] });
    default: return sendHTML(res, 404, 'Not found', '');
  }
});
console.log(`platform: ${here}`);
