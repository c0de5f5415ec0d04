import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { run } from '#testing/daemon.ts'

import { busybox, type Pair, sideBySide } from './pair.ts'

type Side = 'theirs' | 'ours'
const namespace = (side: Side): string => (side === 'ours' ? 'wharfs' : 'theirs')

/** `ctr events` of one side, running until disposed; lines are topics with what they are about. */
class Watcher implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly lines: string[] = []

  constructor(pair: Pair, side: Side) {
    this.#child = spawn(pair.peer.ctr, ['-a', pair[side].address, 'events'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    let rest = ''
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n')
      rest = lines.pop() ?? ''
      this.lines.push(...lines.map((line) => simplify(line, side)))
    })
  }

  /** Waits until the last event of interest has come, and nothing follows. */
  async settled(last: string): Promise<readonly string[]> {
    for (let i = 0; i < 100 && !this.lines.some((line) => line.includes(last)); i++)
      await sleep(100)
    await sleep(500)
    return this.lines
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const exited = once(this.#child, 'exit')
    this.#child.kill()
    await exited
  }
}

/** Drops times, pids and directories: `topic {"container_id":"e1",…}`. */
function simplify(line: string, side: Side): string {
  const [, , text = ''] = line.match(/^(.*? UTC) (.*)$/) ?? []
  return (
    text
      .replace(namespace(side), '<ns>')
      // containerd 1.6 tells of a new namespace in the caller's, 2.x in the new one.
      .replace(/^(<ns>|last) (\/namespaces\/)/, '$2')
      .replaceAll(/"(pid|exited_at|bundle|rootfs|io)":("[^"]*"|\[.*?\]|\{.*?\}|\d+),?/g, '')
      .replaceAll(/"digest":"[^"]*"/g, '')
      .replaceAll(/,}/g, '}')
  )
}

sideBySide(
  'events',
  (pair) => {
    test('each change is told, in the order containerd tells it', async () => {
      const told: Record<Side, readonly string[]> = { theirs: [], ours: [] }
      for (const side of ['theirs', 'ours'] as const) {
        await using watcher = new Watcher(pair(), side)
        await sleep(1000)
        const ctr = async (...args: string[]) =>
          await run(pair().peer.ctr, ['-a', pair()[side].address, '-n', namespace(side), ...args])
        await ctr('image', 'tag', ...pair().local, busybox, 'example.com/tag:1')
        await ctr('image', 'label', 'example.com/tag:1', 'a=b')
        await ctr('image', 'rm', 'example.com/tag:1')
        await ctr('run', '--rm', busybox, 'v1', 'true')
        await ctr('container', 'create', busybox, 'v2', 'sleep', '1000')
        await ctr('container', 'label', 'v2', 'x=y')
        await ctr('task', 'start', '-d', 'v2')
        await ctr('task', 'exec', '--exec-id', 'x1', 'v2', 'true')
        await ctr('task', 'pause', 'v2')
        await ctr('task', 'resume', 'v2')
        await ctr('task', 'kill', '-s', 'SIGKILL', 'v2')
        await sleep(500)
        await ctr('task', 'rm', 'v2')
        await ctr('container', 'rm', 'v2')
        await ctr('namespaces', 'create', 'last')
        await ctr('namespaces', 'label', 'last', 'a=b')
        await ctr('namespaces', 'rm', 'last')
        told[side] = await watcher.settled('/namespaces/delete')
      }
      assert.ok(told.theirs.length > 15, told.theirs.join('\n'))
      assert.deepEqual(told.ours, told.theirs)
    })

    test('a filter is applied, and a bad one refused', async () => {
      await pair().same(['events', 'topic==='], {})
    })
  },
  { image: true },
)
