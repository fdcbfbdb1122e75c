// A tool of LTI 1.2: unmodified ims-lti behind express. It verifies signed forms, shows them, and changes the learner's
// result over Basic Outcomes.
//
//   node tool-ims.mjs tool-ims.json
//
// TOOL_PORT  port to listen on (9410); the address is http://partner.localhost:<port>
// The configuration is read anew for every launch:
//   {"consumers": [{"consumerKey": "…", "sharedSecret": "…"}]}
//
// Launch URLs are /launch and everything below it, with or without a query. After a launch, with its number in launch:
//
// /outcomes/replace?launch=1&score=0.8, /outcomes/read?launch=1, /outcomes/delete?launch=1
//                answer {"ok": true, "result": …}, of a read the score, or {"ok": false, "error": "…"}
// POST /verify   takes [{"url": "…", "body": "a=1&…", "secret": "…"}], forms as they would be posted, and answers with
//                [true, …]: whether ims-lti accepts each. Without a secret it is that of the consumer key. A nonce that
//                occurs twice in one request is refused.
import './resolve.mjs';
import { readFileSync } from 'node:fs';
import { parse } from 'node:querystring';
import express from 'express';
import { Nonces, verify } from './ims.mjs';
import { escapeHTML, sendHTML, sendJSON } from './web.mjs';

const port = Number(process.env.TOOL_PORT ?? 9410);
const here = `http://partner.localhost:${port}`;
const configFile = process.argv[2];
if (!configFile) {
  console.error('usage: node tool-ims.mjs tool-ims.json');
  process.exit(2);
}

const secretOf = key => JSON.parse(readFileSync(configFile, 'utf8')).consumers
  .find(({ consumerKey }) => consumerKey === key)?.sharedSecret;

const nonces = new Nonces();
const launches = [];
const app = express();

app.post(/^\/launch(\/|$)/, express.urlencoded({ extended: false }), async (req, res) => {
  const { provider, error } = await verify(req, req.body, secretOf(req.body.oauth_consumer_key), nonces);
  if (error) return sendHTML(res, 403, 'The launch was refused', `<p data-testid="refused">${escapeHTML(error)}</p>`);
  const number = launches.push(provider);
  const buttons = provider.outcome_service && ['replace', 'read', 'delete'].map(operation => `<form action="/outcomes/${operation}">
<input type="hidden" name="launch" value="${number}">${operation === 'replace' ? '<input name="score" value="0.8">' : ''}
<button data-testid="${operation}">${operation}</button></form>`).join('\n');
  sendHTML(res, 200, req.body.resource_link_title, `<p>Welcome, <strong data-testid="learner-name">${escapeHTML(req.body.lis_person_name_full)}</strong>.</p>
${buttons || '<p>There is no outcome service.</p>'}
<pre id="launch">${escapeHTML(JSON.stringify({ launch: number, url: here + req.originalUrl, parameters: req.body }, null, 2))}</pre>`);
});

app.get('/outcomes/:operation', (req, res) => {
  const service = launches[req.query.launch - 1]?.outcome_service;
  if (!service) return sendJSON(res, 404, { ok: false, error: 'no such launch, or it has no outcome service' });
  const done = (error, result) => sendJSON(res, 200, error ? { ok: false, error: error.message } : { ok: true, result });
  switch (req.params.operation) {
    case 'replace': return service.send_replace_result(Number(req.query.score), done);
    case 'read': return service.send_read_result(done);
    case 'delete': return service.send_delete_result(done);
    default: return sendJSON(res, 404, { ok: false, error: 'no such operation' });
  }
});

app.post('/verify', express.json({ limit: '16mb' }), async (req, res) => {
  const seen = new Nonces();
  sendJSON(res, 200, await Promise.all(req.body.map(async ({ url, body, secret }) => {
    const { protocol, host, pathname, search } = new URL(url);
    const form = parse(body);
    const posted = { method: 'POST', protocol: protocol.slice(0, -1), headers: { host }, originalUrl: pathname + search };
    return Boolean((await verify(posted, form, secret ?? secretOf(form.oauth_consumer_key), seen)).provider);
  })));
});

app.listen(port, '127.0.0.1', () => console.log(`ims-lti tool: ${here}`));
