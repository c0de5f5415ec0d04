import assert from 'node:assert/strict'
import { closeSync, mkdtempDisposableSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, suite, test } from 'node:test'

import { readLog } from '#client/logs/read-log.ts'
import { pipe } from '#sys/fifo.ts'
import { mountAll, unmountRecursive } from '#sys/mount.ts'
import { root } from '#testing/root.ts'

import { LogCopy } from './log-copy.ts'

/** A log that is written from two pipes. */
class Fixture implements Disposable {
  readonly #scope = new DisposableStack()
  readonly path: string
  readonly lost: string[] = []
  readonly resumed: number[] = []
  readonly ended: Promise<void>
  readonly #writers: number[]

  constructor() {
    const dir = this.#scope.use(mkdtempDisposableSync(join(tmpdir(), 'wharf-log-')))
    mountAll([{ type: 'tmpfs', source: 'tmpfs', options: ['size=256k'] }], dir.path)
    this.#scope.defer(() => unmountRecursive(dir.path))
    this.path = join(dir.path, 'log')
    const [out, err] = [pipe(), pipe()]
    this.#writers = [out.write, err.write]
    const { promise, resolve } = Promise.withResolvers<void>()
    this.ended = promise
    const target = { path: this.path, maxSize: -1, maxFile: 1 }
    const copy = new LogCopy(target, [out.read, err.read], {
      onLost: (error) => this.lost.push(error),
      onResumed: (lines) => this.resumed.push(lines),
      onEnd: resolve,
    })
    this.#scope.use(copy)
    this.#scope.defer(() => this.close())
  }

  /** Writes as a process does; the copy runs when this has returned. */
  write(text: string, stream: 0 | 1 = 0): void {
    writeSync(this.#writers[stream] ?? -1, text)
  }

  /** The process has ended. */
  close(): void {
    for (const fd of this.#writers.splice(0)) closeSync(fd)
  }

  /** Waits until all that was written has been dealt with. */
  async settled(until: () => boolean): Promise<void> {
    while (!until()) await new Promise(setImmediate)
  }

  [Symbol.dispose](): void {
    this.#scope.dispose()
  }
}

void suite('the copy of a process into its log', () => {
  void test('a full disk stops no process, and the log goes on when there is room', async (t: TestContext) => {
    if (!root(t)) return
    using fixture = new Fixture()
    const ballast = join(fixture.path, '../ballast')
    writeFileSync(ballast, Buffer.alloc(200 * 1024))
    // More than there is room for; no pipe could hold it.
    const line = `${'x'.repeat(999)}\n`
    for (let n = 0; n < 10; n += 1) {
      fixture.write(line.repeat(50))
      await new Promise(setImmediate)
    }
    await fixture.settled(() => fixture.lost.length > 0)
    assert.equal(fixture.lost.length, 1)
    assert.match(fixture.lost[0] ?? '', /^ENOSPC/)
    rmSync(ballast)
    fixture.write('after\n', 1)
    await fixture.settled(() => fixture.resumed.length > 0)
    fixture.close()
    await fixture.ended
    const entries = await Array.fromAsync(readLog(fixture.path))
    assert.deepEqual(entries.at(-1)?.log, 'after\n')
    assert.ok(entries.slice(0, -1).every(({ log }) => log === line))
    const [lost = 0] = fixture.resumed
    assert.ok(lost > 0 && entries.length - 1 < 500 && entries.length - 1 + lost >= 500)
  })

  void test('it ends when both streams have, with what came last', async (t: TestContext) => {
    if (!root(t)) return
    using fixture = new Fixture()
    fixture.write('out')
    fixture.write('err', 1)
    fixture.close()
    await fixture.ended
    const entries = await Array.fromAsync(readLog(fixture.path, { follow: true }))
    assert.deepEqual(entries.map(({ log }) => log).toSorted(), ['err', 'out'])
  })
})
