import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { suite, test } from 'node:test'

import { type Client } from '#client/client.ts'
import { connect } from '#client/connect.ts'
import { startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { soak, soakMs } from '#testing/soak.ts'

/*
 * A daemon that reads its configuration again while clients use it: what can be applied is, what
 * cannot is said, a file that is wrong changes nothing, and no client notices.
 */

const skip = process.getuid?.() === 0 ? false : 'needs root'
const answer = /the configuration was not reloaded|configuration reloaded/

/** Replaces the configuration of a daemon, and tells it to read it. */
class Reloader {
  readonly #daemon: TestDaemon
  readonly #base: string
  readonly #answers: AsyncIterator<string>

  private constructor(daemon: TestDaemon, base: string) {
    this.#daemon = daemon
    this.#base = base
    this.#answers = answersOf(daemon)
  }

  static async open(daemon: TestDaemon): Promise<Reloader> {
    return new Reloader(daemon, await readFile(join(daemon.dir, 'config.toml'), 'utf8'))
  }

  /** Says `top` above the tables and `rest` below them, on top of what the daemon began with. */
  async write(top: string, rest: string): Promise<void> {
    const path = join(this.#daemon.dir, 'config.toml')
    const text = this.#base.replace('version = 2\n', `version = 2\n${top}\n`)
    await writeFile(`${path}.new`, `${text}\n${rest}\n`)
    await rename(`${path}.new`, path)
  }

  signal(): void {
    this.#daemon.process.kill('SIGHUP')
  }

  /** Sends the signal. @returns the line of the log that tells what became of it. */
  async reload(): Promise<string> {
    this.signal()
    const { value } = await this.#answers.next()
    return String(value)
  }
}

async function* answersOf(daemon: TestDaemon): AsyncGenerator<string> {
  const { stderr } = daemon.process
  assert.ok(stderr)
  for await (const line of createInterface({ input: stderr })) if (answer.test(line)) yield line
}

const gc = '[plugins."io.containerd.gc.v1.scheduler"]'

const timeout = 30_000

void suite('SIGHUP', { skip }, () => {
  void test('applies what can be applied, and says what waits for a restart', {
    timeout,
  }, async () => {
    await using daemon = await startDaemon()
    const reloader = await Reloader.open(daemon)
    await reloader.write(
      'oom_score = 7',
      `[debug]\nlevel = "debug"\n${gc}\nmutation_threshold = 7\nstartup_delay = "1s"\n[timeouts]\n"io.containerd.timeout.task.state" = "9s"`,
    )
    const line = await reloader.reload()
    for (const key of ['debug.level', 'mutation_threshold', 'timeout.task.state']) {
      assert.ok(line.indexOf(key) < line.indexOf('restart='), `${key} is applied: ${line}`)
    }
    for (const key of ['oom_score', 'startup_delay']) {
      assert.ok(line.indexOf(key) > line.indexOf('restart='), `${key} waits: ${line}`)
    }
    await reloader.write('', '[debug]\nlevel = "debug"\nformat = "json"')
    await reloader.reload()
    await reloader.write('', '[debug]\nlevel = "error"')
    assert.match(await reloader.reload(), /^\{"level":"info",.*"applied"/)
  })

  for (const [what, top, rest, message] of [
    ['is no TOML', 'root = = 5', '', /config\.toml.*line 2, column/],
    ['has a value of the wrong kind', 'oom_score = "x"', '', /line 2/],
    ['has a bad duration', '', '[timeouts]\na = "soon"', /unable to parse soon into a time dur/],
    ['is strict and has an unknown key', 'strict = true\nrooot = "/x"', '', /unknown key rooot/],
  ] as const) {
    void test(`changes nothing when the file ${what}`, { timeout }, async () => {
      await using daemon = await startDaemon()
      const reloader = await Reloader.open(daemon)
      await reloader.write(top, `${rest}\n${gc}\nmutation_threshold = 9`)
      const line = await reloader.reload()
      assert.match(line, /level=error msg="the configuration was not reloaded"/)
      assert.match(line, message)
      await using client = await connect(daemon.address)
      await client.namespaces.list()
      await reloader.write('', `${gc}\nmutation_threshold = 9`)
      assert.match(await reloader.reload(), /applied=.*mutation_threshold/)
    })
  }

  void test('fails no request', { timeout: soakMs(180_000) }, async () => {
    await using daemon = await startDaemon()
    const reloader = await Reloader.open(daemon)
    await using client = await connect(daemon.address)
    const stop = new AbortController()
    const load = [0, 1, 2, 3].map((worker) => call(client, worker, stop.signal))
    await soak('reload', 1000, async ({ number, below, count }) => {
      const isBad = below(8) === 0
      await reloader.write(
        isBad ? 'root = =' : '',
        `${gc}\nmutation_threshold = ${number}\n[timeouts]\na = "${number}ms"`,
      )
      const line = await reloader.reload()
      assert.match(line, isBad ? /not reloaded/ : /configuration reloaded/)
      count(isBad ? 'refused' : 'applied')
    })
    for (let i = 0; i < 100; i++) reloader.signal()
    stop.abort()
    const calls = await Promise.all(load)
    assert.ok(calls.every((count) => count > 0))
    const gone = once(daemon.process, 'exit')
    await daemon.stop()
    assert.deepEqual(await gone, [0, null])
  })
})

/** Reads and writes until it is told to stop. @returns how many calls it made; none may fail. */
async function call(client: Client, worker: number, signal: AbortSignal): Promise<number> {
  let calls = 0
  for (; !signal.aborted; calls += 3) {
    const name = `n${worker}-${calls}`
    await client.namespaces.create(name)
    await client.namespaces.list()
    await client.namespaces.delete(name)
  }
  return calls
}
