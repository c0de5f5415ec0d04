import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { Readable } from 'node:stream'

import { type Context, withTimeout } from '#core/context.ts'
import { invalidArgument, unavailable } from '#lib/errors/errors.ts'

import type { Environment } from './proxy.ts'
import type { Credentials } from './remotes.ts'

/*
 *   $ echo registry.example | docker-credential-<name> get
 *   {"ServerURL": "registry.example", "Username": "me", "Secret": "…"}      exit code 0
 *   credentials not found in native keychain                                exit code 1
 *
 * The user `<token>` means that the secret is an identity token.
 * Source: github.com/docker/docker-credential-helpers, README.
 */

const timeoutMs = 30_000
const mostBytes = 64 * 1024
const isUnknown = /credentials not found|no credentials/i

/**
 * Asks `docker-credential-<name>`, looked up in `PATH`, for the credentials of `server`.
 *
 * @returns undefined when it has none.
 * @throws `invalid_argument` for a name that is no file name; `unavailable` when it fails: what it
 * prints is not repeated, as it may be a secret.
 */
export async function askHelper(
  ctx: Context,
  name: string,
  server: string,
  env: Environment,
): Promise<Credentials | undefined> {
  if (!/^[A-Za-z0-9_.-]+$/.test(name)) {
    throw invalidArgument(`credential helper ${JSON.stringify(name)} is not the name of a program`)
  }
  const program = `docker-credential-${name}`
  const { code, output } = await run(withTimeout(ctx, timeoutMs), program, server, env)
  if (code !== 0) {
    if (isUnknown.test(output)) return undefined
    throw unavailable(`${program} failed with code ${code} when asked for ${server}`)
  }
  return parseAnswer(output, program)
}

async function run(
  { signal }: Context,
  program: string,
  server: string,
  env: Environment,
): Promise<{ readonly code: number | null; readonly output: string }> {
  const child = spawn(program, ['get'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { ...env },
    signal,
    killSignal: 'SIGKILL',
  })
  // It need not read what it is asked.
  child.stdin.on('error', () => undefined)
  child.stdin.end(server)
  try {
    const [output] = await Promise.all([
      text(Readable.from(bounded(child.stdout, program), { objectMode: false })),
      once(child, 'close'),
    ])
    return { code: child.exitCode, output }
  } catch (err) {
    child.kill('SIGKILL')
    throw unavailable(`${program} cannot be run: ${reasonOf(err)}`, { cause: err })
  }
}

const reasonOf = (err: unknown): string => {
  if (!(err instanceof Error)) return 'it failed'
  return 'code' in err && err.code === 'ENOENT' ? 'it is not in PATH' : err.message
}

async function* bounded(
  source: AsyncIterable<Buffer>,
  program: string,
): AsyncGenerator<Buffer, void> {
  let size = 0
  for await (const chunk of source) {
    size += chunk.length
    if (size > mostBytes) throw new Error(`${program} prints more than ${mostBytes} bytes`)
    yield chunk
  }
}

function parseAnswer(output: string, program: string): Credentials {
  const { Username: username, Secret: secret } = parse(output)
  if (typeof username !== 'string' || typeof secret !== 'string' || secret === '') {
    throw unavailable(`${program} does not answer with a user and a secret`)
  }
  return username === '<token>' || username === ''
    ? { kind: 'refresh', token: secret }
    : { kind: 'password', username, secret }
}

function parse(output: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(output)
    return typeof value === 'object' && value !== null
      ? Object.fromEntries(Object.entries(value))
      : {}
  } catch {
    return {}
  }
}
