// What the tools that are built with ltijs share: their database, and how they start.
import './resolve.mjs';
import { Provider as lti } from 'ltijs';
import Database from 'ltijs-sequelize';
import { parse } from 'pg-connection-string';

/**
 * The database plugin of ltijs for the address in DATABASE_URL, postgres://user:password@/name?host=/directory for a Unix
 * socket. The options go to Sequelize. Without an address the program ends and says how it is used.
 */
export function databaseFromEnvironment(usage, options = {}) {
  if (!process.env.DATABASE_URL) {
    console.error(`usage: DATABASE_URL=postgres://… node ${usage}`);
    process.exit(2);
  }
  const { host, port, user, password, database } = parse(process.env.DATABASE_URL);
  return new Database(database, user, password, { dialect: 'postgres', host, port: port || 5432, logging: false, ...options });
}

/** Registers a platform, unless it is undefined, and listens on the loopback address. */
export async function start(port, platform, said) {
  await lti.deploy({ serverless: true, silent: true });
  if (platform) await lti.registerPlatform(platform);
  lti.app.listen(port, '127.0.0.1', () => console.log(said));
}
