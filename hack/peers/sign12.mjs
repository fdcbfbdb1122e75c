// Signs LTI 1.2 launches for programs that send them without a browser.
//
//   node sign12.mjs
//
// Each line on standard input is a link, {"launchURL": "…", "consumerKey": "…", "sharedSecret": "…"}; each is answered
// with one line, {"body": "…"}: a form that was never sent before, ready to be posted to the launch URL.
import { randomUUID } from 'node:crypto';
import { createInterface } from 'node:readline';
import oauthSignature from 'oauth-signature';

function sign({ launchURL, consumerKey, sharedSecret }) {
  const form = {
    oauth_version: '1.0',
    oauth_nonce: randomUUID(),
    oauth_timestamp: String(Math.floor(Date.now() / 1000)),
    oauth_consumer_key: consumerKey,
    oauth_callback: 'about:blank',
    oauth_signature_method: 'HMAC-SHA1',
    lti_message_type: 'basic-lti-launch-request',
    lti_version: 'LTI-1p0',
    resource_link_id: '201',
    resource_link_title: 'één & twee (a+b=c) *!*',
    context_id: '2',
    context_title: 'Safety',
    user_id: '17',
    roles: 'Learner',
    lis_person_name_given: 'Lena',
    lis_person_name_family: 'Learner',
    lis_person_name_full: 'Lena Learner',
    lis_person_contact_email_primary: 'lena@example.org',
    tool_consumer_instance_guid: 'lms.localhost',
    launch_presentation_document_target: 'window',
  };
  const signature = oauthSignature.generate('POST', launchURL, form, sharedSecret, undefined, { encodeSignature: false });
  return new URLSearchParams({ ...form, oauth_signature: signature }).toString();
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify({ body: sign(JSON.parse(line)) })}\n`);
}
