import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

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
  await runOnce(join(dist, 'bin/wharfd.mjs'), ['--config', at('config.toml')], 'booted')
  const host = ['-namespace', 'warm', '-address', at('state/d.sock'), '-socket', at('host.sock')]
  await runOnce(join(dist, 'bin/containerd-shim-wharf-v1.mjs'), [...host, 'serve'], 'ok')
  return undefined
}

/** Starts a server and stops it when it says `ready`: code is cached when a process ends. */
async function runOnce(program: string, args: readonly string[], ready: string): Promise<void> {
  // A shim host says so on its fourth stream, a daemon in its log.
  const child = spawn(process.execPath, [program, ...args], {
    stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
  })
  const ended = once(child, 'exit')
  let log = ''
  const onData = (chunk: Buffer): void => {
    const wasReady = log.includes(ready)
    log += chunk.toString()
    if (!wasReady && log.includes(ready)) child.kill('SIGTERM')
  }
  for (const stream of [child.stderr, child.stdio[3]]) stream?.on('data', onData)
  using _late = setTimeout(() => child.kill('SIGKILL'), bootMs)
  await ended
  if (child.exitCode !== 0) throw new Error(`the release does not run:\n${log}`)
}
