import { randomUUID, sign, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'

import type { Certified } from './certificates.ts'

/** What a token is good for: actions by repository. */
export type Grants = Readonly<Record<string, readonly string[]>>

/** A request for a token. */
export interface TokenAsk {
  /** `repository:team/app:pull,push`. */
  readonly scopes: readonly string[]
  /** Empty without credentials. */
  readonly user: string
  readonly secret: string
}

/** Decides what whoever asks gets; undefined for nothing. */
export type Grant = (ask: TokenAsk) => Grants | undefined

/**
 * A token server for docker-registry, as the specification has it: by GET with a password in the header, or
 * none. It signs with the certificate of an authority that the registry trusts.
 *
 * Source: https://distribution.github.io/distribution/spec/auth/jwt/
 */
export class TokenServer implements AsyncDisposable {
  readonly issuer = 'testing'
  readonly realm: string
  /** Seconds by which its clock is ahead. */
  skew = 0
  readonly #server

  private constructor(server: ReturnType<typeof createServer>) {
    this.#server = server
    const address = server.address()
    this.realm = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}/token`
  }

  static async open(signer: Certified, grant: Grant): Promise<TokenServer> {
    const key = await readFile(signer.key, 'utf8')
    const { raw } = new X509Certificate(await readFile(signer.cert))
    const http = createServer((request, response) => {
      request.resume()
      if (request.method !== 'GET') return response.writeHead(405).end()
      const grants = grant(askOf(request))
      if (grants === undefined) {
        const details = 'incorrect username or password'
        return response.writeHead(401).end(JSON.stringify({ details }))
      }
      const token = tokenOf(grants, server.issuer, server.skew, raw, key)
      return response.end(JSON.stringify({ token, expires_in: 60 }))
    })
    http.listen(0, '127.0.0.1')
    await once(http, 'listening')
    const server = new TokenServer(http)
    return server
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }
}

function askOf({ url = '', headers }: IncomingMessage): TokenAsk {
  const { searchParams } = new URL(url, 'http://token')
  const [, basic = ''] = /^Basic (.+)$/.exec(headers.authorization ?? '') ?? []
  const [user = '', secret = ''] = Buffer.from(basic, 'base64').toString().split(':')
  return { scopes: searchParams.getAll('scope'), user, secret }
}

function tokenOf(
  grants: Grants,
  issuer: string,
  skew: number,
  certificate: Buffer,
  key: string,
): string {
  const now = Math.floor(Date.now() / 1000) + skew
  const header = { typ: 'JWT', alg: 'ES256', x5c: [certificate.toString('base64')] }
  const claims = {
    iss: issuer,
    aud: 'test',
    sub: '',
    iat: now,
    nbf: now - 5,
    exp: now + 60,
    jti: randomUUID(),
    access: Object.entries(grants).map(([name, actions]) => ({
      type: 'repository',
      name,
      actions,
    })),
  }
  const text = [header, claims].map(encode).join('.')
  const signature = sign('sha256', Buffer.from(text), { key, dsaEncoding: 'ieee-p1363' })
  return `${text}.${signature.toString('base64url')}`
}

const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url')
