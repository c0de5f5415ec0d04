import { homedir } from 'node:os'
import { join } from 'node:path'

import type { Context } from '#core/context.ts'
import { invalidArgument } from '#lib/errors/errors.ts'
import { hasErrno } from '#lib/fs/has-errno.ts'

import { askHelper } from './credential-helper.ts'
import type { Environment } from './proxy.ts'
import type { CredentialSource, Credentials } from './remotes.ts'
import { readSmallFile } from './small-file.ts'

/*
 * Credentials as `docker login` leaves them:
 *
 *   { "auths": { "registry.example": { "auth": "<base64 of user:secret>" },
 *                "https://index.docker.io/v1/": { "identitytoken": "…" } },
 *     "credHelpers": { "registry.example": "ecr-login" },     docker-credential-ecr-login
 *     "credsStore": "desktop" }                               for all others
 *
 * The file is $DOCKER_CONFIG/config.json, else ~/.docker/config.json; podman's $REGISTRY_AUTH_FILE has
 * the same form; $DOCKER_AUTH_CONFIG holds such a text itself, and comes first.
 *
 * Source: github.com/docker/cli, `cli/config/configfile`, `cli/config/credentials`.
 */

type Table = Readonly<Record<string, unknown>>

/** A text, and where it is from. */
interface Config {
  readonly path: string
  readonly table: Table
}

/**
 * Finds credentials where docker keeps them. The files are read at each call: a login counts at once.
 *
 * @throws `invalid_argument` for a file that is no such config; `unavailable` when a helper fails.
 */
export const dockerCredentials =
  (env: Environment = process.env): CredentialSource =>
  async (ctx, host) => {
    for (const config of await readConfigs(ctx, env)) {
      const found = await lookUp(ctx, config, host, env)
      if (found !== undefined) return found
    }
    return undefined
  }

async function readConfigs(ctx: Context, env: Environment): Promise<readonly Config[]> {
  const inline = env['DOCKER_AUTH_CONFIG'] ?? ''
  const directory = env['DOCKER_CONFIG'] ?? join(env['HOME'] ?? homedir(), '.docker')
  const paths = [env['REGISTRY_AUTH_FILE'] ?? '', join(directory, 'config.json')]
  const configs = inline === '' ? [] : [parseConfig(inline, 'DOCKER_AUTH_CONFIG')]
  for (const path of paths.filter((each) => each !== '')) {
    const text = await readSmallFile(path, ctx.signal).catch((err: unknown) => {
      if (hasErrno(err, 'ENOENT', 'ENOTDIR')) return ''
      throw err
    })
    if (text.trim() !== '') configs.push(parseConfig(text, path))
  }
  return configs
}

function parseConfig(text: string, path: string): Config {
  let table: unknown
  try {
    table = JSON.parse(text)
  } catch {
    // The parser's message quotes what it read, which may be a secret.
    throw invalidArgument(`credentials in ${path}: not JSON`)
  }
  if (isTable(table)) return { path, table }
  throw invalidArgument(`credentials in ${path}: not a JSON object`)
}

async function lookUp(
  ctx: Context,
  { path, table }: Config,
  host: string,
  env: Environment,
): Promise<Credentials | undefined> {
  const keys = keysOf(host)
  const helpers = tableOf(table['credHelpers'])
  const own = keys.find((key) => typeof helpers[key] === 'string')
  const helper = own === undefined ? table['credsStore'] : helpers[own]
  if (typeof helper === 'string' && helper !== '') {
    for (const key of own === undefined ? keys : [own]) {
      const found = await askHelper(ctx, helper, key, env)
      if (found !== undefined) return found
    }
  }
  const auths = tableOf(table['auths'])
  const entry = keys.map((key) => auths[key]).find(isTable)
  return entry === undefined ? undefined : toCredentials(entry, path, host)
}

/** Under which names the credentials of `host` may be kept. */
function keysOf(host: string): readonly string[] {
  const isHub = ['registry-1.docker.io', 'docker.io', 'index.docker.io'].includes(host)
  const hub = isHub ? ['https://index.docker.io/v1/', 'index.docker.io', 'docker.io'] : []
  const own = [host, `https://${host}`, `https://${host}/`, `http://${host}`]
  return [...hub, ...own, `https://${host}/v1/`, `https://${host}/v2/`]
}

function toCredentials(entry: Table, path: string, host: string): Credentials | undefined {
  const { identitytoken, registrytoken, auth } = entry
  if (isText(registrytoken)) return { kind: 'header', value: `Bearer ${registrytoken}` }
  if (isText(identitytoken)) return { kind: 'refresh', token: identitytoken }
  if (isText(entry['username']) && isText(entry['password'])) {
    return { kind: 'password', username: entry['username'], secret: entry['password'] }
  }
  if (!isText(auth)) return undefined
  const pair = Buffer.from(auth, 'base64').toString('utf8').replace(/\0+$/, '')
  const colon = pair.indexOf(':')
  if (colon <= 0) {
    throw invalidArgument(
      `credentials in ${path}: "auth" of ${host} is not user:password in base64`,
    )
  }
  return { kind: 'password', username: pair.slice(0, colon), secret: pair.slice(colon + 1) }
}

const isText = (value: unknown): value is string => typeof value === 'string' && value !== ''

const tableOf = (value: unknown): Table => (isTable(value) ? value : {})

const isTable = (value: unknown): value is Table =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
