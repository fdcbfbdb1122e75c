// The platform's half of 1EdTech LTI Client Side postMessages 0.1 and LTI postMessage Storage 0.1. It stands before the
// frame in the page, so that no message comes before anybody listens.
(() => {
  'use strict';
  const maxKeys = 500, maxBytes = 4096, maxHeight = 20000;
  const { origins, reload, back } = JSON.parse(document.getElementById('settings').textContent);
  const stores = new Map(origins.map(origin => [origin, new Map()]));
  const frame = () => document.getElementById('tool');
  const error = (code, message) => ({ error: { code, message } });
  const isKey = key => typeof key === 'string' && key !== '';
  const fits = text => text.length <= maxBytes && new TextEncoder().encode(text).length <= maxBytes;

  const answers = {
    'lti.capabilities': (message, store, prefix) => ({
      supported_messages: Object.keys(answers).map(subject => ({ subject: prefix + subject })),
    }),
    'lti.put_data': ({ key, value }, store) => {
      if (!isKey(key)) return error('bad_request', 'key must be a string');
      if (value === undefined || value === null) {
        store.delete(key);
        return { key, value: null };
      }
      if (typeof value !== 'string') return error('bad_request', 'value must be a string');
      if (!fits(key) || !fits(value)) return error('storage_exhaustion', `a key or value is longer than ${maxBytes} bytes`);
      if (!store.has(key) && store.size >= maxKeys) return error('storage_exhaustion', `there are ${maxKeys} keys already`);
      store.set(key, value);
      return { key, value };
    },
    'lti.get_data': ({ key }, store) => {
      if (!isKey(key)) return error('bad_request', 'key must be a string');
      return { key, value: store.get(key) ?? null };
    },
    'lti.frameResize': message => {
      const height = Math.min(Math.ceil(Number.parseFloat(message.height)), maxHeight);
      if (!(height > 0)) return error('bad_request', 'height must be a number of pixels');
      // The frame fills the window already; it grows when the tool needs more.
      frame().style.minHeight = `${height}px`;
      return { height };
    },
    'lti.close': () => {
      if (back) location.assign(back);
      return {};
    },
  };
  /** What many tools send without an ID, for they expect no answer. */
  const orders = ['lti.frameResize', 'lti.close'];

  /** Many tools send frameResize as JSON. */
  const parse = data => {
    if (typeof data !== 'string' || data.length > 4 * maxBytes) return data;
    try {
      return JSON.parse(data);
    } catch {
      return undefined;
    }
  };

  addEventListener('message', event => {
    // Whoever else sends messages, in a window or a frame inside the tool's, hears nothing, not even a refusal.
    const store = stores.get(event.origin);
    if (!store || event.source !== frame()?.contentWindow) return;
    const message = parse(event.data);
    // Drafts had the prefix, which some tools still use.
    const [, prefix = '', subject] = /^(org\.imsglobal\.)?(lti\.\w+)$/.exec(message?.subject) ?? [];
    const id = message?.message_id;
    const answered = typeof id === 'number' || typeof id === 'string' && id !== '';
    if (!subject || !answered && !orders.includes(subject)) return;
    const answer = Object.hasOwn(answers, subject) ? answers[subject](message, store, prefix)
      : error('unsupported_subject', 'this message is not supported');
    if (answered) event.source.postMessage({ subject: `${message.subject}.response`, message_id: id, ...answer }, event.origin);
  });

  history.replaceState(null, '', reload);
  addEventListener('DOMContentLoaded', () => {
    const form = document.getElementById('forward');
    if (form) HTMLFormElement.prototype.submit.call(form);
  });
})();
