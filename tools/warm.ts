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
  await bootOnce(join(dist, 'bin/wharfd.mjs'), ['--config', at('config.toml')])
  return undefined
}

/** Boots a daemon and stops it: code is cached when a process ends. */
async function bootOnce(program: string, args: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
  const ended = once(child, 'exit')
  let log = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    const booted = log.includes('successfully booted')
    log += text
    if (!booted && log.includes('successfully booted')) child.kill('SIGTERM')
  })
  using _late = setTimeout(() => child.kill('SIGKILL'), bootMs)
  await ended
  if (child.exitCode !== 0) throw new Error(`the release does not run:\n${log}`)
}
