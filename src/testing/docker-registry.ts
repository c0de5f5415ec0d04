import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Certified } from './certificates.ts'

export interface DockerRegistryOptions {
  readonly tls?: Certified
  /** Only those whose certificate it signed may come. */
  readonly clientCa?: string
  /** Only `user` with `s3cret-pass` may come. */
  readonly password?: boolean
  /** Only those with tokens may come. */
  readonly token?: { readonly realm: string; readonly issuer: string; readonly ca: string }
}

/** For `user`, by bcrypt, which is all that the registry takes: `s3cret-pass`. */
const htpasswd = 'user:$2b$04$HpG7Rtin4ZvX1pX5nzNu/.Tx8Uf8YtBAuDQKJfXQGd8cIgPd2908W\n'

/** Why tests that need docker-registry or openssl cannot run here; undefined when they can. */
export const lacksRegistry: string | undefined = ['docker-registry', 'openssl']
  .filter((program) => spawnSync(program, ['version']).error !== undefined)
  .map((program) => `${program} is not installed`)[0]

/** Debian's docker-registry on a free loopback port, with a scratch directory. */
export class DockerRegistry implements AsyncDisposable {
  /** `127.0.0.1:<port>`. */
  readonly host: string
  readonly port: number
  readonly #dir: string
  readonly #child: ChildProcess

  private constructor(port: number, dir: string, child: ChildProcess) {
    this.host = `127.0.0.1:${port}`
    this.port = port
    this.#dir = dir
    this.#child = child
  }

  static async open(options: DockerRegistryOptions = {}): Promise<DockerRegistry> {
    const port = await freePort()
    const dir = await mkdtemp(join(tmpdir(), 'registry-'))
    await writeFile(join(dir, 'htpasswd'), htpasswd)
    await writeFile(join(dir, 'config.yml'), configOf(port, dir, options))
    const child = spawn('docker-registry', ['serve', join(dir, 'config.yml')], { stdio: 'ignore' })
    const registry = new DockerRegistry(port, dir, child)
    for (let i = 0; i < 300; i++) {
      if (await answers(port)) return registry
      await sleep(50)
    }
    await registry[Symbol.asyncDispose]()
    throw new Error('docker-registry does not answer')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = once(this.#child, 'exit')
      this.#child.kill()
      await exited
    }
    await rm(this.#dir, { recursive: true, force: true })
  }
}

function configOf(
  port: number,
  dir: string,
  { tls, clientCa, password, token }: DockerRegistryOptions,
): string {
  const secure = tls ? { certificate: tls.cert, key: tls.key } : undefined
  const clients = clientCa === undefined ? {} : { clientcas: [clientCa] }
  // YAML, as JSON is.
  return JSON.stringify({
    version: 0.1,
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: join(dir, 'data') }, delete: { enabled: true } },
    http: { addr: `127.0.0.1:${port}`, ...(secure && { tls: { ...secure, ...clients } }) },
    ...(password && { auth: { htpasswd: { realm: 'test', path: join(dir, 'htpasswd') } } }),
    ...(token && {
      auth: { token: { ...token, ca: undefined, rootcertbundle: token.ca, service: 'test' } },
    }),
  })
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

async function freePort(): Promise<number> {
  await using server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return typeof address === 'object' && address ? address.port : 0
}
