// The tool's half of 1EdTech LTI OIDC Login with LTI Client Side postMessages 0.1 and LTI postMessage Storage 0.1: it leaves
// a secret with the platform around this page, or asks for it back, and goes on. It decides nothing: the server does.
(() => {
  'use strict';
  const patience = 1000; // milliseconds, from the specification
  const { origin, target, key, value, next, field } = JSON.parse(document.getElementById('settings').textContent);
  const form = document.getElementById('forward');
  const platform = opener ?? parent;
  const question = next ? { subject: 'lti.put_data', key, value } : { subject: 'lti.get_data', key };
  const newID = () => crypto.getRandomValues(new Uint32Array(4)).join('-');
  const capabilitiesID = newID();
  const asked = new Set();

  const submit = () => HTMLFormElement.prototype.submit.call(form);

  /** Sends the question to the window of the platform's, or to a frame beside this page; only the platform can read it. */
  const ask = name => {
    const message_id = newID();
    asked.add(message_id);
    try {
      (name === '_parent' ? platform : platform.frames[name]).postMessage({ ...question, message_id }, origin);
    } catch {
      // There is no such frame.
    }
  };

  const listen = ({ data, origin: from, source }) => {
    // Drafts had the prefix, which some platforms still use.
    const [, subject] = /^(?:org\.imsglobal\.)?(lti\.\w+)\.response$/.exec(data?.subject) ?? [];
    if (data?.message_id === capabilitiesID && subject === 'lti.capabilities' && source === platform) {
      // Whoever answers this says where to ask, and hears nothing of the question.
      const supported = Array.isArray(data.supported_messages) ? data.supported_messages : [];
      const offered = supported.find(message => message?.subject?.endsWith?.(question.subject));
      if (typeof offered?.frame === 'string' && offered.frame !== target) ask(offered.frame);
      return;
    }
    if (from !== origin || subject !== question.subject || !asked.has(data.message_id)) return;
    if (data.error || next === undefined && typeof data.value !== 'string') return;
    end();
    if (next) return location.replace(next);
    form.elements.namedItem(field).value = data.value;
    submit();
  };
  const end = () => {
    removeEventListener('message', listen);
    clearTimeout(timer);
  };
  const timer = setTimeout(() => {
    end();
    submit();
  }, patience);

  addEventListener('message', listen);
  if (platform === window) {
    end();
    return submit();
  }
  // Both at once: the one that named its storage at the login need not wait.
  platform.postMessage({ subject: 'lti.capabilities', message_id: capabilitiesID }, '*');
  ask(target);
})();
