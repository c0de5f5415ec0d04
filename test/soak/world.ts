import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

import type { Client } from '#client/client.ts'
import { connect } from '#client/connect.ts'
import { unmount } from '#sys/mount.ts'
import { containerd1 } from '#testing/containerd.ts'
import { type Ran, run, startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { type ImageSource, writeImage } from '#testing/image.ts'

import { removeCgroups } from './cgroups.ts'

/** The image of the containers that come and go. */
export const busybox = 'docker.io/library/busybox:latest'

/** How long one step of a user may take on a machine with much to do, in ms. */
export const stepMs = 90_000

/** A `ctr` that may be killed before it has ended. */
export interface RunningCtr {
  readonly process: ChildProcess
  readonly ended: Promise<Ran>
}

/** A daemon that is killed and started again, and those who use it, in a namespace of its own. */
export class World implements AsyncDisposable {
  readonly daemon: TestDaemon
  readonly namespace: string
  /** FIFOs of the typed client, and of `ctr`. */
  readonly fifos: { readonly client: string; readonly ctr: string }
  #client: Client | undefined

  private constructor(daemon: TestDaemon, namespace: string) {
    this.daemon = daemon
    this.namespace = namespace
    this.fifos = { client: join(daemon.dir, 'io'), ctr: join(daemon.dir, 'ctr-io') }
    for (const dir of Object.values(this.fifos)) mkdirSync(dir)
  }

  /** Starts a daemon that works for `namespace`, made unique. */
  static async open(namespace: string, config = ''): Promise<World> {
    const daemon = await startDaemon({ config: `[debug]\nlevel = "debug"\n${config}` })
    try {
      const world = new World(daemon, `${namespace}-${process.pid}`)
      await world.connect()
      return world
    } catch (err) {
      await daemon[Symbol.asyncDispose]()
      throw err
    }
  }

  get client(): Client {
    if (!this.#client) throw new Error('nobody is connected')
    return this.#client
  }

  /** Connects again: a connection ends with the daemon. */
  async connect(): Promise<void> {
    await this.#client?.[Symbol.asyncDispose]()
    this.#client = await this.newClient()
  }

  /** A client of its own. */
  async newClient(): Promise<Client> {
    const signal = AbortSignal.timeout(stepMs)
    const { namespace, fifos } = this
    return await connect(this.daemon.address, { namespace, fifoDir: fifos.client, signal })
  }

  /** kill -9 of the daemon. */
  async kill(): Promise<void> {
    await this.daemon.stop('SIGKILL')
  }

  /** Starts the daemon that was killed. */
  async restart(): Promise<void> {
    await this.daemon.start()
    await this.connect()
  }

  /** What there is to know after a failure. */
  async describe(): Promise<string> {
    const lists = [
      ['task', 'ls'],
      ['container', 'ls'],
      ['snapshot', 'ls'],
      ['content', 'active'],
    ]
    const said: string[] = []
    for (const args of lists) {
      const { stdout, stderr } = await this.ctr(...args)
      said.push(`ctr ${args.join(' ')}\n${stdout}${stderr}`)
    }
    return `${said.join('')}\n${(await this.daemon.log()).slice(-12_000)}`
  }

  /** Writes an image to a file of this world. @returns the path of it. */
  async archive(source: ImageSource): Promise<string> {
    const file = join(this.daemon.dir, `${source.name.replaceAll(/[^a-z0-9]/g, '-')}.tar`)
    await writeImage(source, file)
    return file
  }

  /** Makes a network namespace that has a path, as network plugins do. */
  async network(name: string): Promise<Disposable & { readonly path: string }> {
    const path = join(this.daemon.dir, `net-${name}`)
    writeFileSync(path, '')
    const { code, stderr } = await run('unshare', [`--net=${path}`, 'true'])
    if (code !== 0) throw new Error(`unshare: ${stderr}`)
    const remove = (): void => {
      // As network plugins do: a runtime that was cut off may still look at it.
      unmount(path, { detach: true })
      rmSync(path)
    }
    return { path, [Symbol.dispose]: remove }
  }

  /** Starts `ctr`. It is killed when it takes longer than a step may. */
  startCtr(...args: readonly string[]): RunningCtr {
    const [command, all] = this.#ctr(args)
    const process = spawn(command, all, { stdio: ['ignore', 'pipe', 'pipe'] })
    let [stdout, stderr] = ['', '']
    process.stdout.on('data', (chunk: Buffer) => void (stdout += chunk.toString()))
    process.stderr.on('data', (chunk: Buffer) => void (stderr += chunk.toString()))
    const { promise, resolve, reject } = Promise.withResolvers<Ran>()
    const late = setTimeout(() => process.kill('SIGKILL'), stepMs)
    process.once('error', reject)
    process.once('close', (code, signal) => {
      clearTimeout(late)
      resolve({ code: signal ? -1 : (code ?? -1), stdout, stderr })
    })
    return { process, ended: promise }
  }

  /** Runs `ctr` to its end. */
  async ctr(...args: readonly string[]): Promise<Ran> {
    const [command, all] = this.#ctr(args)
    return await run(command, all, { timeoutMs: stepMs })
  }

  #ctr(args: readonly string[]): [string, string[]] {
    const { ctr = 'ctr' } = containerd1() ?? {}
    const flags = ['--connect-timeout', '10s', '-a', this.daemon.address, '-n', this.namespace]
    return [ctr, [...flags, ...args]]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#client?.[Symbol.asyncDispose]()
    } finally {
      await this.daemon[Symbol.asyncDispose]()
      removeCgroups(this.namespace)
    }
  }
}
