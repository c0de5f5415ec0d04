import assert from 'node:assert/strict'
import { after, before, suite, type SuiteContext } from 'node:test'
import { join } from 'node:path'

import { type Containerd, containerd1, containerd2 } from '#testing/containerd.ts'
import { type DaemonOptions, type Ran, run, startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { busyboxImage, type ImageSource, writeImage } from '#testing/image.ts'

/*
 * Compatibility, judged by the real thing: each command of an unmodified `ctr` runs against
 * containerd and against wharfd, and must end with the same code and say the same.
 */

export const busybox = 'docker.io/library/busybox:latest'

/** Each daemon works in a namespace of its own: cgroup paths hold the namespace and the id. */
const namespaces = { theirs: 'theirs', ours: 'wharfs' } as const

const envOf = (side: keyof typeof namespaces): NodeJS.ProcessEnv => ({
  ...process.env,
  CONTAINERD_NAMESPACE: namespaces[side],
})

/** Config of daemons that keep what nothing refers to, so that lists are the same at all times. */
export const withoutCollector = `[plugins."io.containerd.gc.v1.scheduler"]
schedule_delay = "1h"
startup_delay = "1h"`

/** What may differ between two right answers, and what it becomes before they are compared. */
export type Normalise = readonly (readonly [RegExp, string])[]

const always: Normalise = [
  [/\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})/g, '<time>'],
  [/\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}(\.\d+)? [+-]\d{4} UTC/g, '<time>'],
  [/time="[^"]*"/g, 'time=<time>'],
  [/elapsed: *[\d.]+ ?s.*/g, 'elapsed'],
  [/\b(about )?(less than )?(an?|\d+) (second|minute)s? ?(ago)?/gi, '<age>'],
  [/\d+(\.\d+)?(ms|µs|s)\b/g, '<took>'],
  [new RegExp(`\\b(${namespaces.theirs}|${namespaces.ours})\\b`, 'g'), '<ns>'],
]

export interface CompareOptions {
  readonly normalise?: Normalise
  /** Compare standard error too; true unless said otherwise. */
  readonly stderr?: boolean
  /** Only the codes must agree: what is said is checked by the test. */
  readonly codeOnly?: boolean
}

/** The real daemon and ours, and the `ctr` that came with the former. */
export class Pair {
  readonly peer: Containerd
  readonly theirs: TestDaemon
  readonly ours: TestDaemon

  constructor(peer: Containerd, theirs: TestDaemon, ours: TestDaemon) {
    this.peer = peer
    this.theirs = theirs
    this.ours = ours
  }

  /** Runs `ctr` against ours alone. */
  async ctr(...args: readonly string[]): Promise<Ran> {
    return await this.on('ours', ...args)
  }

  /** Runs `ctr` against one of them. */
  async on(side: 'theirs' | 'ours', ...args: readonly string[]): Promise<Ran> {
    return await run(this.peer.ctr, ['-a', this[side].address, ...args], { env: envOf(side) })
  }

  /** Runs `ctr` against both in turn, and fails unless they agree. @returns what ours said. */
  async same(args: readonly string[], options: CompareOptions = {}): Promise<Ran> {
    const expected = await this.on('theirs', ...args)
    const actual = await this.ctr(...args)
    const title = `ctr ${args.join(' ')}`
    assert.equal(actual.code, expected.code, `${title}: exit code\n${actual.stderr}`)
    if (options.codeOnly) return actual
    const text = (ran: Ran): string => this.#normal(ran.stdout, options.normalise)
    assert.equal(text(actual), text(expected), `${title}: stdout`)
    if (options.stderr !== false) {
      const said = (ran: Ran): string => this.#normal(ran.stderr, options.normalise)
      assert.equal(said(actual), said(expected), `${title}: stderr`)
    }
    return actual
  }

  /** Runs several commands in order, each on both. */
  async all(...commands: readonly string[]): Promise<void> {
    for (const command of commands) await this.same(command.split(' '))
  }

  /** Imports an image into both. */
  async import(source: ImageSource, ...flags: readonly string[]): Promise<void> {
    const file = join(this.ours.dir, 'image.tar')
    await writeImage(source, file)
    for (const side of ['theirs', 'ours'] as const) {
      const args = ['-a', this[side].address, 'image', 'import', ...this.local, ...flags, file]
      const { code, stderr } = await run(this.peer.ctr, args, { env: envOf(side) })
      assert.equal(code, 0, stderr)
    }
  }

  /** Flags that keep `ctr` 2.x from the transfer service. */
  get local(): readonly string[] {
    return this.peer.major >= 2 ? ['--local'] : []
  }

  #normal(text: string, extra: Normalise = []): string {
    let normal = text.replaceAll(this.theirs.dir, '<dir>').replaceAll(this.ours.dir, '<dir>')
    for (const [pattern, replacement] of [...always, ...extra]) {
      normal = normal.replaceAll(pattern, replacement)
    }
    return normal
      .split('\n')
      .map((line) => line.replaceAll(/[ \t]+/g, ' ').trimEnd())
      .map((line) => line.split(' ').map(sortLabels).join(' '))
      .join('\n')
  }
}

/** Go prints the labels of a map in random order. */
const sortLabels = (word: string): string =>
  /^[^,]+=[^,]*(,[^,]+=[^,]*)+$/.test(word) ? word.split(',').toSorted().join(',') : word

/** One suite for each generation of `ctr` that is there; skipped with a reason where one is not. */
export function sideBySide(
  name: string,
  body: (pair: () => Pair, suite: SuiteContext) => void,
  options: DaemonOptions & { readonly image?: boolean; readonly skip?: string | undefined } = {},
): void {
  for (const [generation, find] of [
    ['1.6', containerd1],
    ['2.x', containerd2],
  ] as const) {
    const peer = find()
    const lacks =
      peer && process.getuid?.() === 0 ? false : `needs root and containerd ${generation}`
    const skip = options.skip ?? lacks
    void suite(`${name}, as ctr ${peer?.version ?? generation} sees it`, { skip }, (context) => {
      let pair: Pair | undefined
      before(async () => {
        if (!peer) return
        const ours = process.env['WHARF_TEST_SELF'] ? { containerd: peer } : {}
        const both = options.config ? { config: options.config } : {}
        pair = new Pair(
          peer,
          await startDaemon({ containerd: peer, ...both }),
          await startDaemon({ ...options, ...ours }),
        )
        if (options.image) await pair.import(busyboxImage(busybox))
      })
      after(async () => {
        await pair?.ours[Symbol.asyncDispose]()
        await pair?.theirs[Symbol.asyncDispose]()
      })
      body(() => {
        assert.ok(pair, 'the daemons did not start')
        return pair
      }, context)
    })
  }
}
