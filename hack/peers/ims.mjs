// What the tools that are built with ims-lti share: how they verify a signed form.
import ims from 'ims-lti';

/** How far a timestamp may be from now, in seconds. */
const tolerance = 300;

/** Nonces of the last minutes. The store of ims-lti looks at every nonce for every launch. */
export class Nonces extends ims.Stores.NonceStore {
  #until = new Map();

  isNew = (nonce, timestamp, done) => {
    const now = Date.now() / 1000;
    for (const [old, until] of this.#until) {
      if (until > now) break;
      this.#until.delete(old);
    }
    const fresh = Math.abs(now - Number(timestamp)) <= tolerance && nonce && !this.#until.has(nonce);
    if (fresh) this.#until.set(nonce, now + 2 * tolerance);
    done(fresh ? null : new Error('the nonce was used, or the timestamp is not of now'), Boolean(fresh));
  };
}

/** A secret as ims-lti wants it: it makes the HMAC key without encoding (RFC 5849 section 3.4.2 demands that). */
const encode = secret => encodeURIComponent(secret).replace(/[!'()*]/g, c => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);

/** Verifies a request as ims-lti sees it; resolves to its Provider, or to why it refuses. */
export function verify(req, body, secret, nonces) {
  if (!secret) return { error: 'unknown consumer key' };
  const provider = new ims.Provider(body.oauth_consumer_key, encode(secret), nonces);
  return new Promise(resolve => provider.valid_request(req, body, (error, valid) =>
    resolve(valid ? { provider } : { error: error.message })));
}
