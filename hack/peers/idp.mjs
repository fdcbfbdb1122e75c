// The academy's own identity provider: unmodified oidc-provider, with its development pages for signing in.
//
//   CLIENT_SECRET_FILE=secret.txt IDP_ACCOUNTS='{"gus": {"scim_id": "17", "given_name": "Gus", "locale": "nl"}}' node idp.mjs
//
// IDP_PORT            port to listen on (9406); the issuer is http://id.localhost:<port>
// LTI_URL             the launch handler (http://lti.localhost:9402), which is the only client
// CLIENT_ID           its name here (launch-handler)
// CLIENT_SECRET_FILE  file with its secret
// IDP_ACCOUNTS        accounts by the name that one signs in with, and the claims of each: scim_id and groups; email and
//                     email_verified; name, given_name, family_name and locale
import { readFileSync } from 'node:fs';
import Provider from 'oidc-provider';

const port = Number(process.env.IDP_PORT ?? 9406);
const accounts = JSON.parse(process.env.IDP_ACCOUNTS ?? '{}');
const provider = new Provider(`http://id.localhost:${port}`, {
  clients: [{
    client_id: process.env.CLIENT_ID ?? 'launch-handler',
    client_secret: readFileSync(process.env.CLIENT_SECRET_FILE, 'utf8').trim(),
    redirect_uris: [`${process.env.LTI_URL ?? 'http://lti.localhost:9402'}/learners/callback`],
  }],
  claims: { openid: ['sub', 'scim_id', 'groups'], email: ['email', 'email_verified'], profile: ['name', 'given_name', 'family_name', 'locale'] },
  findAccount: (_, id) => accounts[id] && { accountId: id, claims: () => ({ sub: id, ...accounts[id] }) },
});
provider.listen(port, '127.0.0.1', () => console.log(`identity provider: http://id.localhost:${port}`));
