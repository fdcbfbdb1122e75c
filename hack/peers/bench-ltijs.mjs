// Unmodified ltijs, set up as in production behind a proxy that ends TLS, for `make bench-launches`. It does launches and
// nothing else, and wherever ltijs leaves a choice it has the faster one: no debugging, no log of statements, no CORS, no
// services, a pool of connections that is full from the start, a platform that is registered beforehand. What cannot be
// chosen away is how ltijs works: it asks the database for the platform in each request, keeps what it knows of a person and
// a course by deleting and inserting, and keeps a session that the browser's next request is checked against.
//
//   NODE_ENV=production DATABASE_URL=postgres://… node bench-ltijs.mjs bench-ltijs.json
//
// TOOL_PORT         port to listen on
// DATABASE_URL      an empty database; postgres://user:password@/name?host=/directory for a Unix socket
// POOL_CONNECTIONS  connections to the database (10)
// The configuration is what ltijs.registerPlatform takes. With authConfig.method RSA_KEY or JWK_KEY it needs no request for
// the platform's keys; with JWK_SET it makes one in each launch, because it keeps none.
import { readFileSync } from 'node:fs';
import { databaseFromEnvironment, start } from './ltijs.mjs';
import { Provider as lti } from 'ltijs';
import { sendHTML, escapeHTML } from './web.mjs';

const connections = Number(process.env.POOL_CONNECTIONS ?? 10);
lti.setup('a key for one run of a benchmark', {
  plugin: databaseFromEnvironment('bench-ltijs.mjs bench-ltijs.json', { pool: { max: connections, min: connections } }),
}, {
  cors: false,
  cookies: { secure: true, sameSite: 'None' },
  // Tokens are signed before they are sent and wait their turn; the default of 10 s would refuse some on a slow machine.
  tokenMaxAge: 120,
});
lti.app.set('trust proxy', true);
// The least that shows that a launch has worked: who came, and to what.
lti.onConnect((token, req, res) => sendHTML(res, 200, 'Academy',
  `<p>${escapeHTML(token.userInfo.name)}</p><p>${escapeHTML(token.platformContext.resource.title)}</p>`));

await start(Number(process.env.TOOL_PORT), JSON.parse(readFileSync(process.argv[2], 'utf8')), 'ready');
