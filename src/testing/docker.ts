import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, existsSync } from 'node:fs'
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { peerDirectory } from './containerd.ts'
import { type Ran, run, type TestDaemon } from './daemon.ts'

/** Docker on top of a daemon under test: dockerd with BuildKit in it, and its command line. */
export interface TestDocker extends AsyncDisposable {
  /** Runs `docker`, whatever its code. */
  readonly ran: (...args: readonly string[]) => Promise<Ran>
  /** Runs `docker`. @returns what it prints. @throws when its code is not 0, with what it said. */
  readonly docker: (...args: readonly string[]) => Promise<string>
  log(): Promise<string>
}

export interface DockerOptions {
  /** Keep images in containerd's stores, instead of dockerd's own. */
  readonly imagesInContainerd: boolean
}

const dockerd = join(peerDirectory, 'usr/sbin/dockerd')
const cli = join(peerDirectory, 'usr/bin/docker')
const plugins = join(peerDirectory, 'usr/libexec/docker/cli-plugins')
const startMs = 60_000
const stopMs = 20_000
const commandMs = 90_000

/** Whether Docker was fetched. */
export const hasDocker = (): boolean => existsSync(dockerd) && existsSync(cli)

/** Starts dockerd in a directory of `daemon`, without networks: those would be this machine's. */
export async function startDocker(daemon: TestDaemon, options: DockerOptions): Promise<TestDocker> {
  const dir = join(daemon.dir, 'docker')
  const home = join(dir, 'home')
  await mkdir(join(home, '.docker'), { recursive: true })
  await symlink(plugins, join(home, '.docker', 'cli-plugins'))
  const config = { features: { 'containerd-snapshotter': options.imagesInContainerd } }
  await writeFile(join(dir, 'daemon.json'), JSON.stringify(config))
  const docker = new Docker(dir, daemon.address)
  await docker.start()
  return docker
}

class Docker implements TestDocker {
  readonly #dir: string
  readonly #containerd: string
  #stop: () => Promise<void> = () => Promise.resolve()

  constructor(dir: string, containerd: string) {
    this.#dir = dir
    this.#containerd = containerd
  }

  async start(): Promise<void> {
    const at = (name: string): string => join(this.#dir, name)
    const args = [
      ['--config-file', at('daemon.json')],
      ['--containerd', this.#containerd],
      ['--data-root', at('data'), '--exec-root', at('exec'), '--pidfile', at('pid')],
      ['--host', this.#host, '--bridge=none', '--userland-proxy=false'],
      ['--iptables=false', '--ip6tables=false', '--ip-masq=false', '--ip-forward=false'],
    ].flat()
    const path = `${join(peerDirectory, 'usr/bin')}:${process.env['PATH']}`
    const child = spawn(dockerd, args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, PATH: path },
    })
    child.stderr.on('data', (chunk: Buffer) => appendFileSync(at('log'), chunk))
    const ended = once(child, 'exit')
    this.#stop = async () => {
      child.kill('SIGTERM')
      using _late = setTimeout(() => child.kill('SIGKILL'), stopMs)
      await ended
    }
    const isUp = async (): Promise<boolean> => (await this.ran('version')).code === 0
    for (const began = performance.now(); !(await isUp()); await sleep(100)) {
      if (child.exitCode === null && performance.now() - began < startMs) continue
      throw new Error(`dockerd does not serve:\n${await this.log()}`)
    }
  }

  readonly ran = async (...args: readonly string[]): Promise<Ran> => {
    const env = { ...process.env, DOCKER_HOST: this.#host, HOME: join(this.#dir, 'home') }
    return await run(cli, args, { env, timeoutMs: commandMs })
  }

  readonly docker = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await this.ran(...args)
    if (code === 0) return stdout
    throw new Error(`docker ${args.join(' ')} ended with ${code}:\n${stdout}${stderr}`)
  }

  async log(): Promise<string> {
    return await readFile(join(this.#dir, 'log'), 'utf8')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stop()
  }

  get #host(): string {
    return `unix://${join(this.#dir, 'docker.sock')}`
  }
}
