import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { styleText } from 'node:util'

import type { Client } from '#client/client.ts'
import { connect } from '#client/connect.ts'
import { describe, hasCode } from '#lib/errors/errors.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'

import { ensurePrograms, runtimePrograms } from './packages.ts'

/*
 * `npm start`: installs what is missing, starts wharfd on directories of its own, runs a first
 * container through its API, and keeps serving. `-- --once` ends after the container.
 */

const root = '/var/lib/wharf'
const state = '/run/wharf'
const address = `${state}/wharfd.sock`
const image = 'docker.io/library/busybox:latest'
const bootMs = 15_000
const stopMs = 15_000

async function main(args: readonly string[]): Promise<number> {
  const unknown = args.filter((arg) => arg !== '--once')
  if (unknown.length > 0) throw new Error(`unknown argument ${unknown.join(' ')}; there is --once`)
  if (process.getuid?.() !== 0)
    throw new Error('wharfd mounts and runs containers: start it as root')
  ensurePrograms(runtimePrograms)
  const daemon = startDaemon()
  const stop = (signal: NodeJS.Signals): void => void daemon.kill(signal)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, stop)
  const exited = once(daemon, 'exit')
  try {
    await firstContainer(daemon)
    if (!args.includes('--once')) return exitCode(await exited)
  } catch (err) {
    daemon.kill()
    await exited
    throw err
  }
  daemon.kill()
  using _late = setTimeout(() => daemon.kill('SIGKILL'), stopMs)
  return exitCode(await exited)
}

const exitCode = ([code]: readonly unknown[]): number => (typeof code === 'number' ? code : 1)

function startDaemon(): ChildProcess {
  const wharfd = fileURLToPath(new URL('../bin/wharfd.mjs', import.meta.url))
  const flags = ['--root', root, '--state', state, '--address', address, '--log-level', 'warn']
  const config = fileURLToPath(new URL('./start.toml', import.meta.url))
  return spawn(process.execPath, [wharfd, '--config', config, ...flags], {
    stdio: ['ignore', 'inherit', 'inherit'],
    // A Ctrl-C reaches the whole group of the terminal: the daemon gets it from here, once.
    detached: true,
  })
}

async function firstContainer(daemon: ChildProcess): Promise<void> {
  await using client = await reach(daemon)
  await ensureImage(client)
  const chunks: Uint8Array[] = []
  await using container = await client.containers.create(`hello-${process.pid}`, {
    image,
    args: ['echo', 'hello from a container that wharf runs'],
  })
  const { status } = await container.run({
    stdout: (chunk) => void chunks.push(chunk),
    stderr: (chunk) => void process.stderr.write(chunk),
  })
  if (status !== 0) throw new Error(`the first container ended with code ${status}`)
  process.stdout.write(Buffer.concat(chunks))
  const { version } = await client.server()
  process.stdout.write(banner(version))
}

/** Connects as soon as the daemon answers; fails when it ends instead. */
async function reach(daemon: ChildProcess): Promise<Client> {
  const late = AbortSignal.timeout(bootMs)
  for (;;) {
    if (daemon.exitCode !== null) throw new Error('wharfd did not start: see its message above')
    try {
      return await connect(address, { signal: late })
    } catch (err) {
      if (late.aborted) throw new Error(`wharfd does not answer on ${address}`, { cause: err })
      await sleep(20)
    }
  }
}

/** Makes an image from this machine's busybox, unless an earlier start did. */
async function ensureImage(client: Client): Promise<void> {
  try {
    await client.images.get(image)
  } catch (err) {
    if (!hasCode(err, 'not_found')) throw err
    await mkdir(tmpdir(), { recursive: true })
    const dir = await mkdtemp(join(tmpdir(), 'wharf-image-'))
    try {
      const file = join(dir, 'busybox.tar')
      await writeImage(busyboxImage(image), file)
      await client.images.import(createReadStream(file))
    } finally {
      await rm(dir, { recursive: true, force: true })
    }
  }
}

function banner(version: string): string {
  const name = styleText('bold', `wharfd ${version}`, { stream: process.stdout })
  const ctr = `ctr -a ${address}`
  return `
${name}
  socket   ${address}
  root     ${root}
  state    ${state}

Try next (ctr comes with Debian's containerd package):
  ${ctr} version
  ${ctr} image ls
  ${ctr} run --rm -t ${image} shell sh
`
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (err) {
  process.stderr.write(`wharf: ${describe(err)}\n`)
  process.exitCode = 1
}
