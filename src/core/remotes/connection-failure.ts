import {
  CodedError,
  codeOf,
  deadlineExceeded,
  describe,
  type ErrorCode,
} from '#lib/errors/errors.ts'

/*
 * What a failed connection means for the one who waits for an image. The names are those of
 * OpenSSL's `X509_V_ERR_*` as Node spells them, of its alerts, of errno, and of undici.
 */

interface Meaning {
  readonly code: ErrorCode
  /** After the name of the host. */
  readonly says: string
  readonly todo: string
}

const unknownCa: Meaning = {
  code: 'failed_precondition',
  says: 'shows a certificate that nobody this machine trusts has signed',
  todo: 'put the CA into hosts.toml as "ca", or into the system\'s certificates',
}
const notTls: Meaning = {
  code: 'failed_precondition',
  says: 'does not speak TLS',
  todo: 'if it is meant to be plain HTTP, ask for that: "http://" in hosts.toml, or the option for it',
}
const clientCertificate: Meaning = {
  code: 'failed_precondition',
  says: 'refused the client certificate, or the lack of one',
  todo: 'set "client" in hosts.toml to a certificate that it accepts',
}
const unknownName: Meaning = {
  code: 'unavailable',
  says: 'is not a name that can be looked up',
  todo: 'check its spelling, and the name server of this machine',
}
const slow: Meaning = {
  code: 'unavailable',
  says: 'did not answer in time',
  todo: 'check that it is up, and that a proxy or firewall lets this machine through',
}
const broke: Meaning = {
  code: 'unavailable',
  says: 'ended the connection early',
  todo: 'try again; if it stays, look into the logs of the registry or of the proxy before it',
}
const unreachable: Meaning = {
  code: 'unavailable',
  says: 'cannot be reached from here',
  todo: 'check the network, and that a proxy or firewall lets this machine through',
}

const meanings: Readonly<Record<string, Meaning>> = {
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: unknownCa,
  UNABLE_TO_GET_ISSUER_CERT: unknownCa,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: unknownCa,
  SELF_SIGNED_CERT_IN_CHAIN: unknownCa,
  DEPTH_ZERO_SELF_SIGNED_CERT: unknownCa,
  CERT_HAS_EXPIRED: {
    code: 'failed_precondition',
    says: 'shows a certificate that has expired',
    todo: "have it renewed, or set this machine's clock",
  },
  CERT_NOT_YET_VALID: {
    code: 'failed_precondition',
    says: 'shows a certificate that is not valid yet',
    todo: "set this machine's clock, which is probably behind",
  },
  CERT_REVOKED: {
    code: 'failed_precondition',
    says: 'shows a certificate that was revoked',
    todo: 'have it replaced',
  },
  ERR_TLS_CERT_ALTNAME_INVALID: {
    code: 'failed_precondition',
    says: 'shows a certificate for another name',
    todo: 'use a name that it is for, or have it reissued',
  },
  ERR_SSL_WRONG_VERSION_NUMBER: notTls,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: notTls,
  ERR_SSL_HTTP_REQUEST: notTls,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: clientCertificate,
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: clientCertificate,
  'ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE': clientCertificate,
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: clientCertificate,
  ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE: clientCertificate,
  ENOTFOUND: unknownName,
  EAI_AGAIN: unknownName,
  ECONNREFUSED: {
    code: 'unavailable',
    says: 'refuses connections',
    todo: 'check that the registry runs, and its port',
  },
  ETIMEDOUT: slow,
  UND_ERR_CONNECT_TIMEOUT: slow,
  UND_ERR_HEADERS_TIMEOUT: slow,
  UND_ERR_BODY_TIMEOUT: {
    code: 'unavailable',
    says: 'stopped sending',
    todo: 'try again; a slow network, or a proxy that waits, does this',
  },
  UND_ERR_SOCKET: broke,
  ECONNRESET: broke,
  EPIPE: broke,
  EHOSTUNREACH: unreachable,
  ENETUNREACH: unreachable,
  UND_ERR_REQ_CONTENT_LENGTH_MISMATCH: {
    code: 'failed_precondition',
    says: 'was to be sent more or fewer bytes than the descriptor says',
    todo: 'check the content that is pushed: it is cut off, or not what its descriptor describes',
  },
  UND_ERR_HEADERS_OVERFLOW: {
    code: 'unavailable',
    says: 'sends more headers than any registry does',
    todo: 'check that it is a registry',
  },
}

/** The name by which Node, OpenSSL or undici knows what happened; empty for none. */
export function nameOf(err: unknown): string {
  for (let next = err; next instanceof Error; next = next.cause) {
    const errors: readonly unknown[] = next instanceof AggregateError ? next.errors : []
    const [first] = errors.map(nameOf).filter((name) => name !== '')
    if ('code' in next && typeof next.code === 'string' && next.code !== '') return next.code
    if (first !== undefined) return first
  }
  return ''
}

/** Whether the peer answered TLS with something else. */
export const speaksNoTls = (err: unknown): boolean => meanings[nameOf(err)] === notTls

/** Whether nobody was there to talk to. */
export const wasNotReached = (err: unknown): boolean =>
  ['ECONNREFUSED', 'ETIMEDOUT', 'UND_ERR_CONNECT_TIMEOUT', 'EHOSTUNREACH'].includes(nameOf(err))

/** Whether the peer ended the connection, as it does with one that was idle for long. */
export const wasCutOff = (err: unknown): boolean => meanings[nameOf(err)] === broke

/** Whether the same request may well succeed when it is sent once more. */
export function isTransient(err: unknown): boolean {
  const meaning = meanings[nameOf(err)]
  return meaning === slow || meaning === broke || nameOf(err) === 'UND_ERR_BODY_TIMEOUT'
}

/**
 * `err`, which a connection to `host` ended in, as an error for people: what was being done, with
 * whom, what happened, what to do. Coded errors, and the end of `signal`, stay what they are.
 */
export function connectionFailure(
  err: unknown,
  stage: string,
  host: string,
  signal: AbortSignal,
): Error {
  if (signal.aborted && err instanceof Error) {
    if (err.name !== 'TimeoutError') return err
    return deadlineExceeded(`${stage}: host ${host} takes longer than anybody waits`, {
      cause: err,
    })
  }
  if (codeOf(err) !== undefined && err instanceof Error) {
    if (err.message.startsWith(stage)) return err
    return new CodedError(codeOf(err) ?? 'unknown', `${stage}: ${err.message}`, { cause: err })
  }
  const name = nameOf(err)
  const meaning = meanings[name] ?? fallbackFor(name, describe(err))
  const message = `${stage}: host ${host} ${meaning.says} (${name || describe(err)}); ${meaning.todo}`
  return new CodedError(meaning.code, message, { cause: err })
}

function fallbackFor(name: string, message: string): Meaning {
  if (name.startsWith('HPE_')) {
    return { ...broke, says: 'does not answer in HTTP', todo: 'check that it is a registry' }
  }
  if (/\bproxy\b/i.test(message)) {
    const todo = 'check HTTPS_PROXY, HTTP_PROXY and NO_PROXY, and the user in them'
    return { ...broke, says: `could not be reached: ${message}`, todo }
  }
  return { ...broke, says: 'could not be talked to' }
}
