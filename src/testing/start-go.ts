import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Containerd } from './containerd.ts'

/** A containerd of the test's own, with its files in `dir`. */
export interface GoDaemon extends AsyncDisposable {
  /** Runs `ctr` against it. */
  readonly ctr: (args: readonly string[], stdin?: string) => Promise<string>
  /** Starts `ctr content ingest`, sends `part`, and leaves before the end. */
  readonly ingestPart: (ref: string, part: string) => Promise<void>
}

const startTimeout = 20_000

/** Starts `go` on scratch directories below `dir`, and waits until it answers. */
export async function startGo(
  t: TestContext,
  go: Containerd,
  dir: string,
  collectAfter: '100ms' | '1h' = '100ms',
): Promise<GoDaemon> {
  const socket = join(dir, 'containerd.sock')
  const config = join(dir, 'config.toml')
  const disabled = ['io.containerd.grpc.v1.cri', 'io.containerd.nri.v1.nri']
  const gc = `[plugins."io.containerd.gc.v1.scheduler"]\nstartup_delay = "${collectAfter}"`
  const text = `version = 2\ndisabled_plugins = ${JSON.stringify(disabled)}\n${gc}\n`
  fs.writeFileSync(config, text)
  const args = ['--config', config, '--address', socket]
  const daemon = spawn(
    go.containerd,
    [...args, '--root', join(dir, 'root'), '--state', join(dir, 'state')],
    { stdio: 'ignore' },
  )
  const ended = once(daemon, 'exit')
  await using undo = new AsyncDisposableStack()
  undo.defer(async () => {
    daemon.kill()
    await ended
  })
  const address = ['--address', socket]
  const ctr = async (command: readonly string[], stdin = ''): Promise<string> =>
    await new Promise((resolve, reject) => {
      const child = execFile(go.ctr, [...address, ...command], (err, stdout, stderr) => {
        if (err) reject(new Error(`${command.join(' ')}: ${stderr}`, { cause: err }))
        else resolve(stdout)
      })
      // A ctr that has ended already says by its code how that was.
      child.stdin?.on('error', () => {}).end(stdin)
    })
  await until(t, async () => await ctr(['version']).then(Boolean, () => false))
  const ingestPart = async (ref: string, part: string): Promise<void> => {
    const child = spawn(go.ctr, [...address, 'content', 'ingest', ref], {
      stdio: ['pipe', 'ignore', 'ignore'],
    })
    child.stdin.write(part)
    await until(t, async () => (await ctr(['content', 'active'])).includes(ref))
    child.kill()
    await once(child, 'exit')
  }
  const held = undo.move()
  return { ctr, ingestPart, [Symbol.asyncDispose]: async () => await held.disposeAsync() }
}

/** Waits until `done`, for at most 20 s. */
export async function until(t: TestContext, done: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = AbortSignal.any([t.signal, AbortSignal.timeout(startTimeout)])
  while (!(await done())) await sleep(20, undefined, { signal: deadline })
}
