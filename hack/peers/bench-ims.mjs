// Unmodified ims-lti behind express, set up as in production behind a proxy that ends TLS, for `make bench-launches`. It
// verifies a signed form and sends the browser on, and knows nothing of who comes: no accounts, no grades, no pages. Its
// nonces are in memory, each found at once, and gone when it stops.
//
//   NODE_ENV=production node bench-ims.mjs bench-ims.json
//
// TOOL_PORT  port to listen on
// The configuration is read once:
//   {"consumerKey": "…", "sharedSecret": "…", "path": "/the/launch/url", "targetURL": "https://where.a/launch/leads/to"}
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import express from 'express';
import { Nonces, verify } from './ims.mjs';
import { redirect, sendJSON } from './web.mjs';

const { consumerKey, sharedSecret, path, targetURL } = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const nonces = new Nonces();
const app = express();
app.set('trust proxy', true);

app.post(path, express.urlencoded({ extended: false }), async (req, res) => {
  const { error } = await verify(req, req.body, req.body.oauth_consumer_key === consumerKey && sharedSecret, nonces);
  if (error) return sendJSON(res, 403, { error });
  redirect(res, `${targetURL}?lti_launch_code=${randomUUID()}`);
});

app.listen(Number(process.env.TOOL_PORT), '127.0.0.1', () => console.log('ready'));
