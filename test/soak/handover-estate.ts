import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { type Containerd, containerd1 } from '#testing/containerd.ts'
import { run, startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { busyboxImage, busyboxLayer, type ImageSource, writeImage } from '#testing/image.ts'

import { removeCgroups } from './cgroups.ts'

/** A task as clients know it. */
export interface KnownTask {
  readonly pid: string
  readonly status: 'RUNNING' | 'STOPPED' | 'PAUSED'
}

/** What the clients of one namespace were told there is. */
export interface Ledger {
  readonly images: Map<string, Picture>
  /** By id: the image, and the value of the label `mark`. */
  readonly containers: Map<string, { readonly image: string; mark: string }>
  readonly tasks: Map<string, KnownTask>
  /** By key: parent and kind, as `ctr snapshot ls` shows them. */
  readonly snapshots: Map<string, { readonly parent: string; readonly kind: string }>
  readonly leases: Set<string>
  /** Numbers for new names. */
  next: number
}

/** An image, and what a shell in it must say. */
export interface Picture {
  readonly source: ImageSource
  readonly command: string
  readonly says: string
}

const layered: ImageSource = {
  name: 'docker.io/library/layered:latest',
  gzip: true,
  layers: [
    busyboxLayer,
    { 'data/old': 'old', 'data/kept': 'kept', 'dir/a': 'a' },
    { 'data/.wh.old': '', 'dir/.wh..wh..opq': '', 'dir/b': 'b' },
  ],
}

/** What is imported, again and again. */
export const pictures: readonly Picture[] = [
  { source: busyboxImage(), command: 'echo busybox', says: 'busybox\n' },
  { source: layered, command: 'cd /; echo data/* dir/*', says: 'data/kept dir/b\n' },
  {
    source: { ...layered, name: 'docker.io/library/saved:latest', format: 'docker' },
    command: 'cat /data/kept',
    says: 'kept',
  },
]

const commandMs = 60_000

/** Directories that one daemon after the other serves, and what their clients know. */
export class Estate implements AsyncDisposable {
  readonly dir: string
  /** Where clients work. Cgroups and runc's files are below them, so nobody else has the names. */
  readonly namespaces: readonly string[]
  readonly #ledgers = new Map<string, Ledger>()
  readonly #peer: Containerd
  readonly #daemons = new Map<'wharfd' | 'containerd', TestDaemon>()
  #owner: 'wharfd' | 'containerd' = 'containerd'

  private constructor(dir: string, peer: Containerd) {
    this.dir = dir
    this.#peer = peer
    this.namespaces = ['a', 'b'].map((name) => `estate-${name}-${peer.major}-${process.pid}`)
  }

  /** Directories that nobody has served yet, and images to import. */
  static async open(peer: Containerd): Promise<Estate> {
    const estate = new Estate(await mkdtemp(join(tmpdir(), 'estate-')), peer)
    for (const { source } of pictures) await writeImage(source, estate.archive(source))
    return estate
  }

  /** The file that an image is imported from. */
  archive(source: ImageSource): string {
    return join(this.dir, `${source.name.replaceAll(/[^a-z0-9]/g, '-')}.tar`)
  }

  /** Who serves now. */
  get owner(): string {
    return this.#owner
  }

  /** The content store's directory. */
  get blobs(): string {
    return join(this.dir, 'root/io.containerd.content.v1.content/blobs/sha256')
  }

  /** What the clients of `namespace` know. */
  ledger(namespace: string): Ledger {
    return this.#ledgers.getOrInsertComputed(namespace, () => ({
      images: new Map(),
      containers: new Map(),
      tasks: new Map(),
      snapshots: new Map(),
      leases: new Set(),
      next: 0,
    }))
  }

  /** Ends the daemon that serves with `signal`, and lets the other one go on. */
  async handOver(signal: NodeJS.Signals): Promise<void> {
    await this.#daemons.get(this.#owner)?.stop(signal)
    this.#owner = this.#owner === 'wharfd' ? 'containerd' : 'wharfd'
    const known = this.#daemons.get(this.#owner)
    if (known) await known.start()
    else {
      const containerd = this.#owner === 'containerd' ? { containerd: this.#peer } : {}
      this.#daemons.set(this.#owner, await startDaemon({ dir: this.dir, ...containerd }))
    }
    if (this.#owner === 'containerd' && this.#peer.major >= 2) this.#forgetStopped()
  }

  /** containerd 2.x ends shims in which nothing runs when it starts, its own too, tasks and all. */
  #forgetStopped(): void {
    for (const { tasks } of this.#ledgers.values()) {
      for (const [id, { status }] of tasks) if (status === 'STOPPED') tasks.delete(id)
    }
  }

  /** Runs `ctr` on behalf of `namespace`. @returns what it said. @throws when it fails. */
  async ctr(namespace: string, ...args: readonly string[]): Promise<string> {
    const address = join(this.dir, 'state/d.sock')
    // That of 1.6 does the same with both; that of 2.x would ask its own daemon for a transfer.
    const client = containerd1()
    const all = ['-a', address, '-n', namespace, ...args]
    const { code, stdout, stderr } = await run(client?.ctr ?? this.#peer.ctr, all, {
      timeoutMs: commandMs,
    })
    assert.equal(code, 0, `${this.owner}: ctr ${args.join(' ')}: ${stdout}${stderr}`)
    return stdout
  }

  /**
   * Runs a `command` of `ctr` that starts a process, to its end. @returns what the process said.
   *
   * It says it into a file: a FIFO that `ctr` has not opened yet when the process has ended, it does
   * not open any more, and what is in it is lost, whoever the daemon is.
   */
  async hear(
    namespace: string,
    command: readonly string[],
    args: readonly string[],
  ): Promise<string> {
    const file = join(this.dir, `said-${namespace}`)
    await rm(file, { force: true })
    await this.ctr(namespace, ...command, '--log-uri', `file://${file}`, ...args)
    return await readFile(file, 'utf8')
  }

  /** What there is to know after a failure. */
  async describe(): Promise<string> {
    const ledgers = this.namespaces.map((namespace) => {
      const { images, containers, tasks, snapshots, leases } = this.ledger(namespace)
      const lists = { images: [...images.keys()], containers, tasks, snapshots, leases }
      return `${namespace}: ${JSON.stringify(lists, (_, value: unknown) =>
        value instanceof Map || value instanceof Set ? [...value] : value,
      )}`
    })
    const log = (await this.#daemons.get(this.#owner)?.log()) ?? ''
    return `${this.owner} serves\n${ledgers.join('\n')}\n${log.slice(-8000)}`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const namespace of this.namespaces) await this.#removeTasks(namespace)
    for (const daemon of this.#daemons.values()) await daemon.stop()
    // Any of them ends the shims that are left and removes the directory.
    const [daemon] = this.#daemons.values()
    await daemon?.[Symbol.asyncDispose]()
    for (const namespace of this.namespaces) removeCgroups(namespace)
  }

  /** As far as they can be: after a failure there may be nobody who answers. */
  async #removeTasks(namespace: string): Promise<void> {
    for (const id of this.ledger(namespace).tasks.keys()) {
      await this.ctr(namespace, 'task', 'rm', '-f', id).catch(() => {})
    }
  }
}
