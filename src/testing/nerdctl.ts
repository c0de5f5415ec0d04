import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { peerDirectory } from './containerd.ts'
import { type Ran, run, type TestDaemon } from './daemon.ts'

/** Where `tools/peer-go.ts` puts what it builds. */
export const goPeerDirectory: string = join(peerDirectory, 'go/bin')

const programOf = (name: string): string => join(goPeerDirectory, name)
const startMs = 60_000
const stopMs = 20_000
const commandMs = 90_000

/** Why tests with nerdctl and BuildKit cannot run here; undefined when they can. */
export const lacksNerdctl: string | undefined = ['nerdctl', 'buildkitd', 'buildctl']
  .filter((name) => !existsSync(programOf(name)))
  .map((name) => `${name} was not built: node tools/peer-go.ts`)[0]

/** nerdctl as the client of a daemon under test, with directories of its own there. */
export class Nerdctl {
  readonly #daemon: TestDaemon
  readonly #env: NodeJS.ProcessEnv

  /** @param buildkit - Address of a buildkitd that builds for it. */
  constructor(daemon: TestDaemon, buildkit = '') {
    this.#daemon = daemon
    const path = `${goPeerDirectory}:${process.env['PATH']}`
    this.#env = { ...process.env, PATH: path, HOME: daemon.dir, BUILDKIT_HOST: buildkit }
  }

  /** Runs it, whatever its code; `input` is all there is to read. */
  async ran(args: readonly string[], input = ''): Promise<Ran> {
    const { dir, address } = this.#daemon
    const at = (name: string): string => join(dir, 'nerdctl', name)
    const flags = ['--address', address, '--data-root', at('data'), '--cni-netconfpath', at('cni')]
    const script = 'printf %s "$0" | "$@"'
    const command = [programOf('nerdctl'), ...flags, ...args]
    const options = { env: this.#env, timeoutMs: commandMs }
    return await run('sh', ['-c', script, input, ...command], options)
  }

  /** @returns what it prints. @throws when its code is not 0, with what it said. */
  readonly nerdctl = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await this.ran(args)
    if (code === 0) return stdout
    throw new Error(`nerdctl ${args.join(' ')} ended with ${code}:\n${stdout}${stderr}`)
  }
}

/** BuildKit by itself, which works with the snapshots, content, leases and tasks of a daemon. */
export interface TestBuildkit extends AsyncDisposable {
  readonly address: string
  /** Runs `buildctl`. @returns what it prints. @throws when its code is not 0, with what it said. */
  readonly buildctl: (...args: readonly string[]) => Promise<string>
}

/** Starts buildkitd in a directory of `daemon`. It talks HTTP to the registry at `registry`. */
export async function startBuildkit(daemon: TestDaemon, registry: string): Promise<TestBuildkit> {
  const dir = join(daemon.dir, 'buildkit')
  await mkdir(dir)
  const address = `unix://${join(dir, 'buildkitd.sock')}`
  await writeFile(join(dir, 'buildkitd.toml'), configOf(daemon, dir, { address, registry }))
  const child = spawn(programOf('buildkitd'), ['--config', join(dir, 'buildkitd.toml')], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  child.stderr.on('data', (chunk: Buffer) => appendFileSync(join(dir, 'log'), chunk))
  const ended = once(child, 'exit')
  const ran = async (...args: readonly string[]): Promise<Ran> =>
    await run(programOf('buildctl'), ['--addr', address, ...args], { timeoutMs: commandMs })
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM')
    using _late = setTimeout(() => child.kill('SIGKILL'), stopMs)
    await ended
  }
  const isUp = async (): Promise<boolean> => (await ran('debug', 'workers')).code === 0
  for (const began = performance.now(); !(await isUp()); await sleep(100)) {
    if (child.exitCode === null && performance.now() - began < startMs) continue
    await stop()
    throw new Error(`buildkitd does not serve:\n${await readFile(join(dir, 'log'), 'utf8')}`)
  }
  const buildctl = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await ran(...args)
    if (code === 0) return stdout
    throw new Error(`buildctl ${args.join(' ')} ended with ${code}:\n${stdout}${stderr}`)
  }
  return { address, buildctl, [Symbol.asyncDispose]: stop }
}

/** Builds are in the machine's own network: others would have to be set up. */
const configOf = (
  daemon: TestDaemon,
  dir: string,
  { address, registry }: { readonly address: string; readonly registry: string },
): string => `root = "${join(dir, 'data')}"
[grpc]
address = ["${address}"]
[worker.oci]
enabled = false
[worker.containerd]
enabled = true
address = "${daemon.address}"
namespace = "default"
networkMode = "host"
[registry."${registry}"]
http = true
`
