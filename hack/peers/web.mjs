// What the small sites and the check share: a plain HTTP server, forms, and requests to *.localhost.
import http from 'node:http';
import './resolve.mjs';

const bodyLimit = 256 * 1024;

export const escapeHTML = text => String(text ?? '').replace(/[&<>"']/g, c => `&#${c.charCodeAt(0)};`);

export const parseCookies = header => Object.fromEntries((header ?? '').split(/;\s*/).filter(Boolean)
  .map(pair => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]));

/** Reads a body as text. */
export async function readText(req) {
  const chunks = [];
  let size = 0;
  for await (const chunk of req) {
    size += chunk.length;
    if (size > bodyLimit) throw new Error('the body is too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Reads a form body; a name that comes twice keeps its first value. */
export async function readForm(req) {
  const form = {};
  for (const [name, value] of new URLSearchParams(await readText(req))) form[name] ??= value;
  return form;
}

export function sendHTML(res, status, title, body, headers = {}) {
  res.writeHead(status, {
    'Content-Type': 'text/html; charset=utf-8', 'Cache-Control': 'no-store', ...headers,
  });
  res.end(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escapeHTML(title)}</title>
<style>body{font:16px/1.5 sans-serif;margin:2rem;max-width:60rem}iframe{width:100%;height:32rem}td,th{padding:.2rem .8rem .2rem 0;text-align:left}</style>
</head><body><main><h1>${escapeHTML(title)}</h1>
${body}
</main></body></html>
`);
}

export function sendJSON(res, status, value, headers = {}) {
  res.writeHead(status, { 'Content-Type': 'application/json', 'Cache-Control': 'no-store', ...headers });
  res.end(JSON.stringify(value));
}

export function redirect(res, location, headers = {}) {
  res.writeHead(303, { Location: location, 'Cache-Control': 'no-store', ...headers });
  res.end();
}

/** A page that posts the fields by itself, and by its button where scripts are off. */
export function sendPostForm(res, title, action, fields) {
  const inputs = Object.entries(fields)
    .map(([name, value]) => `<input type="hidden" name="${escapeHTML(name)}" value="${escapeHTML(value)}">`).join('\n');
  sendHTML(res, 200, title, `<form method="post" action="${escapeHTML(action)}">
${inputs}
<button data-testid="continue">Continue</button>
</form>
<script>document.forms[0].submit()</script>`);
}

/**
 * Cookie probes, by which a browser shows what it sends from one site to another:
 * /probe/set sets two cookies, /probe/echo tells which of them came, /probe/from?to=… posts to and embeds another site.
 */
export function handleProbe(req, res, url) {
  if (url.pathname === '/probe/set') {
    sendHTML(res, 200, 'Probe cookies set', '', {
      'Set-Cookie': ['probe_lax=1; Path=/; HttpOnly; SameSite=Lax', 'probe_none=1; Path=/; HttpOnly; Secure; SameSite=None'],
    });
  } else if (url.pathname === '/probe/echo') {
    const cookies = Object.keys(parseCookies(req.headers.cookie)).filter(name => name.startsWith('probe_')).join(' ');
    sendHTML(res, 200, 'Probe', `<p>Received: <output data-testid="cookies">${escapeHTML(cookies)}</output></p>
<p>From: <output data-testid="fetch-site">${escapeHTML(req.headers['sec-fetch-site'])}</output></p>`);
  } else if (url.pathname === '/probe/from') {
    const to = escapeHTML(url.searchParams.get('to'));
    sendHTML(res, 200, 'Probe another site', `<form method="post" action="${to}"><button data-testid="post">Post</button></form>
<iframe data-testid="framed" title="Other site" src="${to}"></iframe>`);
  } else {
    return false;
  }
  return true;
}

/** Listens on the loopback address; handle(req, res, url) answers. */
export function serve(port, handle) {
  const server = http.createServer(async (req, res) => {
    try {
      const url = new URL(req.url, `http://${req.headers.host ?? 'localhost'}`);
      if (!handleProbe(req, res, url)) await handle(req, res, url);
    } catch (error) {
      console.error(`${req.method} ${req.url.split('?')[0]}: ${error.message}`);
      if (!res.headersSent) sendHTML(res, 500, 'Something went wrong', `<p>${escapeHTML(error.message)}</p>`);
      else res.destroy();
    }
  });
  return new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', () => resolve(server)));
}

/** One request, no redirect followed; headers may include Host. */
export function request(address, { method = 'GET', headers = {}, body, timeout = 10_000 } = {}) {
  const url = new URL(address);
  return new Promise((resolve, reject) => {
    const req = http.request(url, { method, headers, timeout, agent: false }, async res => {
      try {
        const chunks = [];
        for await (const chunk of res) chunks.push(chunk);
        resolve({ status: res.statusCode, headers: res.headers, text: Buffer.concat(chunks).toString('utf8') });
      } catch (error) {
        reject(error);
      }
    });
    req.on('timeout', () => req.destroy(new Error(`no answer within ${timeout} ms`)));
    req.on('error', reject);
    req.end(body);
  });
}

/** The same for libraries that expect fetch: unlike it, no connection is kept, so a server may start again in between. */
export async function fetchLocal(address, { method, headers, body } = {}) {
  const answer = await request(address, {
    method, headers: Object.fromEntries(new Headers(headers)), body: body === undefined || body === null ? undefined : String(body),
  });
  return new Response(answer.text || null, { status: answer.status, headers: Object.entries(answer.headers).map(([k, v]) => [k, String(v)]) });
}
