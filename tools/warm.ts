import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { Version } from '#gen/services/version_pb.ts'
import { connectGrpc } from '#lib/grpc/client.ts'

const bootMs = 30_000

/**
 * Fills the release's cache of compiled code: its programs run once, as they will later.
 *
 * Gives why the cache is left empty, if it is; programs then fill it themselves, if they may.
 */
export async function warm(dist: string): Promise<string | undefined> {
  mkdirSync(join(dist, 'cache'))
  if (process.getuid?.() !== 0) return 'only root can run what the cache is made by'
  await using dir = await mkdtempDisposable(join(tmpdir(), 'wharf-build-'))
  const at = (name: string): string => join(dir.path, name)
  const config = `version = 2\nroot = "${at('root')}"\nstate = "${at('state')}"\n[grpc]\naddress = "${at('state/d.sock')}"\n`
  writeFileSync(at('config.toml'), config)
  const address = at('state/d.sock')
  const daemon = { program: join(dist, 'bin/wharfd.mjs'), args: ['--config', at('config.toml')] }
  await runOnce({ ...daemon, ready: 'booted', use: async () => await askVersion(address) })
  const args = ['-namespace', 'warm', '-address', address, '-socket', at('host.sock'), 'serve']
  await runOnce({ program: join(dist, 'bin/containerd-shim-wharf-v1.mjs'), args, ready: 'ok' })
  return undefined
}

/** A server, and what makes it run what is to be cached. */
interface Server {
  readonly program: string
  readonly args: readonly string[]
  /** What it says when it serves. */
  readonly ready: string
  /** Called then. */
  readonly use?: () => Promise<void>
}

/** Starts a server, uses it and stops it: code is cached when a process ends. */
async function runOnce({ program, args, ready, use }: Server): Promise<void> {
  // A shim host says so on its fourth stream, a daemon in its log.
  const child = spawn(process.execPath, [program, ...args], {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
  })
  const ended = once(child, 'exit')
  const { promise: serves, resolve } = Promise.withResolvers<void>()
  let log = ''
  const onData = (chunk: Buffer): void => {
    log += chunk.toString()
    if (log.includes(ready)) resolve()
  }
  for (const stream of [child.stderr, child.stdio[3]]) stream?.on('data', onData)
  using _late = setTimeout(() => child.kill('SIGKILL'), bootMs)
  await Promise.race([serves, ended])
  if (child.exitCode === null) await use?.()
  child.kill('SIGTERM')
  await ended
  if (child.exitCode !== 0) throw new Error(`the release does not run:\n${log}`)
}

/** The call that clients begin with. */
async function askVersion(address: string): Promise<void> {
  const signal = AbortSignal.timeout(bootMs)
  await using connection = await connectGrpc(address, { signal })
  await connection.client(Version).version({}, { signal })
}
