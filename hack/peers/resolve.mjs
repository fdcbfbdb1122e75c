// Lets Node find *.localhost on the loopback address, as browsers do: whatever its resolver knows of these names, and
// whichever library asks. Importing this file is enough.
import dns from 'node:dns';

const { lookup } = dns;
dns.lookup = (name, options, done = options) => {
  if (!/(^|\.)localhost$/.test(name)) return lookup(name, options, done);
  const found = { address: '127.0.0.1', family: 4 };
  process.nextTick(() => options.all ? done(null, [found]) : done(null, found.address, found.family));
};
