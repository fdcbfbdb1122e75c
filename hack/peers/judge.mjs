// What the specifications demand of a platform, as tool-strict.mjs checks it. Written from their text, and stricter than
// a tool may be: it also objects to what the specifications discourage and to what they do not know. Sections are those
// of LTI Core 1.3 unless another specification is named.

const claim = name => `https://purl.imsglobal.org/spec/lti/claim/${name}`;
const vocabulary = 'http://purl.imsglobal.org/vocab/lis/v2';

/** What a check found, as a list; and where in something larger it is. */
const list = found => [found ?? []].flat();
const join = (path, found) => path + (/^[[.]/.test(found) ? '' : ' ') + found;

/** Checks take a value and return what is wrong with it, or nothing. */
const string = value => typeof value !== 'string' ? 'is not a string' : value.trim() === '' ? 'is empty' : undefined;

const identifier = value => string(value) ??
  (/^[\x20-\x7e]{1,255}$/.test(value) ? undefined : 'is not 1 to 255 ASCII characters');

const number = value => Number.isFinite(value) ? undefined : 'is not a number';

const seconds = value => Number.isInteger(value) && value > 1e9 && value < 1e10 ? undefined : 'is not a time in whole seconds';

const oneOf = (...values) => value => values.includes(value) ? undefined : `is not ${values.join(' or ')}`;

/** https, or http on this machine, where browsers take it for as good. */
function url(value) {
  if (string(value)) return string(value);
  if (!URL.canParse(value)) return 'is not a URL';
  const { protocol, hostname, username } = new URL(value);
  if (protocol !== 'https:' && !(protocol === 'http:' && /(^|\.)localhost$|^127\./.test(hostname))) return 'is not an https URL';
  if (value.includes('#')) return 'has a fragment';
  return username ? 'has a user name' : undefined;
}

/** OpenID Connect Core section 2: an issuer has neither a query nor a fragment. */
const issuer = value => url(value) ?? (value.includes('?') ? 'has a query' : undefined);

/** RFC 5646, as browsers understand it. */
function language(value) {
  if (string(value)) return string(value);
  try {
    return Intl.getCanonicalLocales(value).length === 1 ? undefined : 'is not a language tag';
  } catch {
    return 'is not a language tag';
  }
}

const email = value => string(value) ?? (/^[^\s@]+@[^\s@]+$/.test(value) ? undefined : 'is not an email address');

const listOf = (check, { least = 0 } = {}) => value => {
  if (!Array.isArray(value)) return 'is not an array';
  if (value.length < least) return `has fewer than ${least} elements`;
  if (new Set(value).size !== value.length) return 'names something twice';
  const wrong = value.findIndex(element => check(element) !== undefined);
  return wrong < 0 ? undefined : join(`[${wrong}]`, list(check(value[wrong]))[0]);
};

/** A list in which something must be. */
const listWith = (...demanded) => value => listOf(string)(value) ??
  demanded.filter(one => !value.includes(one)).map(one => `lacks ${one}`)[0];

/** An object with these members; those in need must be there, others than these must not. */
const object = (members, { need = [], also = () => false, some = [] } = {}) => value => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'is not an object';
  const violations = [
    ...need.filter(name => !(name in value)).map(name => `lacks ${name}`),
    ...(some.length > 0 && !some.some(name => name in value) ? [`has none of ${some.join(', ')}`] : []),
  ];
  for (const [name, member] of Object.entries(value)) {
    const check = Object.hasOwn(members, name) ? members[name] : undefined;
    const wrong = check ? check(member) : also(name) ? undefined : 'is not known';
    violations.push(...list(wrong).map(found => join(`.${name}`, found)));
  }
  return violations.length > 0 ? violations : undefined;
};

/** The violations of a whole document, whose members have no dot before them. */
const judge = (check, value) => list(check(value)).map(found => found.replace(/^\./, ''));

// Appendix A.2: the roles of each vocabulary.
const roles = {
  [`${vocabulary}/system/person#`]: ['Administrator', 'None', 'AccountAdmin', 'Creator', 'SysAdmin', 'SysSupport', 'User'],
  [`${vocabulary}/institution/person#`]: ['Administrator', 'Faculty', 'Guest', 'None', 'Other', 'Staff', 'Student', 'Alumni', 'Instructor',
    'Learner', 'Member', 'Mentor', 'Observer', 'ProspectiveStudent'],
  [`${vocabulary}/membership#`]: ['Administrator', 'ContentDeveloper', 'Instructor', 'Learner', 'Mentor', 'Manager', 'Member', 'Officer'],
  'http://purl.imsglobal.org/vocab/lti/system/person#': ['TestUser'],
};
const principal = `${vocabulary}/membership/`;

function role(value) {
  if (string(value)) return string(value);
  const [, prefix, name] = value.match(/^(.*#)(\w+)$/) ?? [];
  if (roles[prefix]?.includes(name)) return undefined;
  // Appendix A.2.3.1: sub-roles of a context role.
  if (prefix?.startsWith(principal) && roles[`${vocabulary}/membership#`].includes(prefix.slice(principal.length, -1))) return undefined;
  return 'is not of a role vocabulary';
}

/** Appendix A.1; the short names of earlier versions are deprecated (section 5.4.1). */
const contextType = oneOf(...['CourseTemplate', 'CourseOffering', 'CourseSection', 'Group'].map(name => `${vocabulary}/course#${name}`));

const custom = value => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'is not an object';
  const wrong = Object.entries(value).find(([name, member]) => name === '' || typeof member !== 'string');
  return wrong && `.${wrong[0]} is not a string`;
};

const agsScopes = ['lineitem', 'lineitem.readonly', 'result.readonly', 'score'].map(name => `https://purl.imsglobal.org/spec/lti-ags/scope/${name}`);

/** Claims of a LtiResourceLinkRequest by name: sections 5.3 and 5.4, and OpenID Connect Core sections 2 and 5.1. */
const claims = {
  iss: issuer, sub: identifier, exp: seconds, iat: seconds, nbf: seconds, nonce: string, azp: string, jti: string, auth_time: seconds,
  aud: value => Array.isArray(value) ? listOf(string, { least: 1 })(value) : string(value),
  name: string, given_name: string, family_name: string, middle_name: string, picture: url, email, locale: language,
  email_verified: oneOf(true, false), zoneinfo: string, preferred_username: string,
  [claim('message_type')]: oneOf('LtiResourceLinkRequest'),
  [claim('version')]: oneOf('1.3.0'),
  [claim('deployment_id')]: identifier,
  [claim('target_link_uri')]: url,
  [claim('resource_link')]: object({ id: identifier, title: string, description: string }, { need: ['id'] }),
  [claim('roles')]: listOf(role),
  [claim('context')]: object({ id: identifier, label: string, title: string, type: listOf(contextType, { least: 1 }) }, { need: ['id'] }),
  [claim('tool_platform')]: object({
    guid: identifier, contact_email: email, description: string, name: string, url, product_family_code: string, version: string,
  }, { need: ['guid'] }),
  [claim('role_scope_mentor')]: listOf(identifier, { least: 1 }),
  [claim('launch_presentation')]: object({
    document_target: oneOf('frame', 'iframe', 'window'), height: number, width: number, return_url: url, locale: language,
  }),
  [claim('lis')]: object({ person_sourcedid: string, course_offering_sourcedid: string, course_section_sourcedid: string }),
  [claim('custom')]: custom,
  // Migration from LTI 1.1.
  [claim('lti1p1')]: object({
    user_id: string, oauth_consumer_key: string, oauth_consumer_key_sign: string, context_id: string, resource_link_id: string,
    tool_consumer_instance_guid: string,
  }, { need: ['oauth_consumer_key'] }),
  // Assignment and Grade Services 2.0, the claim.
  'https://purl.imsglobal.org/spec/lti-ags/claim/endpoint': object({
    scope: listOf(oneOf(...agsScopes), { least: 1 }), lineitems: url, lineitem: url,
  }, { need: ['scope'], some: ['lineitems', 'lineitem'] }),
  // Names and Role Provisioning Services 2.0, the claim.
  'https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice': object({
    context_memberships_url: url, service_versions: listWith('2.0'),
  }, { need: ['context_memberships_url', 'service_versions'] }),
};

const demanded = ['iss', 'sub', 'aud', 'exp', 'iat', 'nonce',
  ...['message_type', 'version', 'deployment_id', 'target_link_uri', 'resource_link', 'roles'].map(claim)];

/** Section 5.4.7: claims of others have the URL of whoever defines them. */
const extension = name => url(name) === undefined && !/(^|\.)(imsglobal\.org|1edtech\.org)$/.test(new URL(name).hostname);

/** What is wrong with the claims of a LtiResourceLinkRequest; expected are the values that this tool knows already. */
export function judgeClaims(value, { clientID, deploymentID, targetLinkURI }) {
  const violations = judge(object(claims, { need: demanded, also: extension }), value);
  const expect = (name, wanted) => {
    if (value[name] !== wanted) violations.push(`${name} is not ${wanted}`);
  };
  expect(claim('deployment_id'), deploymentID);
  // Section 5.3.4: the login initiation named the same.
  expect(claim('target_link_uri'), targetLinkURI);
  // OpenID Connect Core section 2: azp is needed when there are other audiences, and is the client.
  if ('azp' in value || value.aud?.length > 1 && Array.isArray(value.aud)) expect('azp', clientID);
  if (value.exp <= value.iat) violations.push('exp is not after iat');
  // Section 5.4.3.
  if (claim('role_scope_mentor') in value && !value[claim('roles')]?.includes(`${vocabulary}/membership#Mentor`)) {
    violations.push(`${claim('role_scope_mentor')} of somebody who is no mentor`);
  }
  return violations;
}

/** What is wrong with the header of an ID token: Security 1.0 section 5.1.3, RFC 7515 section 4.1. */
export const judgeHeader = value => judge(object({ alg: oneOf('RS256'), kid: string, typ: oneOf('JWT') }, { need: ['alg', 'kid'] }), value);

const platformConfiguration = 'https://purl.imsglobal.org/spec/lti-platform-configuration';

/**
 * What is wrong with an OpenID configuration: OpenID Connect Discovery 1.0 section 3, and the platform configuration of
 * Dynamic Registration 1.0. That demands registration_endpoint, too, which is of no use to a tool that is registered: it
 * may be missing.
 */
export function judgeConfiguration(value, { issuer: expected, address }) {
  const violations = judge(object({
    issuer, authorization_endpoint: url, token_endpoint: url, jwks_uri: url, registration_endpoint: url, authorization_server: string,
    token_endpoint_auth_methods_supported: listWith('private_key_jwt'),
    token_endpoint_auth_signing_alg_values_supported: listWith('RS256'),
    scopes_supported: listWith('openid'),
    response_types_supported: listWith('id_token'),
    response_modes_supported: listWith('form_post'),
    grant_types_supported: listWith('client_credentials'),
    subject_types_supported: listOf(oneOf('public', 'pairwise'), { least: 1 }),
    id_token_signing_alg_values_supported: listWith('RS256'),
    claims_supported: listWith('iss', 'sub'),
    [platformConfiguration]: object({
      product_family_code: string, version: string, variables: listOf(string),
      messages_supported: listOf(object({ type: string, placements: listOf(string) }, { need: ['type'] })),
    }, { need: ['product_family_code', 'messages_supported'] }),
  }, {
    need: ['issuer', 'authorization_endpoint', 'token_endpoint', 'jwks_uri', 'token_endpoint_auth_methods_supported',
      'token_endpoint_auth_signing_alg_values_supported', 'scopes_supported', 'response_types_supported', 'subject_types_supported',
      'id_token_signing_alg_values_supported', 'claims_supported', platformConfiguration],
    also: name => /_supported$|^(service_documentation|op_policy_uri|op_tos_uri)$/.test(name) || extension(name),
  }), value);
  const messages = list(value[platformConfiguration]?.messages_supported);
  if (!messages.some(message => message?.type === 'LtiResourceLinkRequest')) violations.push('LtiResourceLinkRequest is not supported');
  if (value.issuer !== expected) violations.push(`issuer is not ${expected}`);
  // Dynamic Registration: whoever serves the configuration is the issuer.
  if (URL.canParse(value.issuer) && new URL(value.issuer).host !== new URL(address).host) {
    violations.push('the configuration is on another host than the issuer');
  }
  return violations;
}
