import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, suite, test } from 'node:test'

import type { Client } from '#client/client.ts'
import { connect } from '#client/connect.ts'
import type { Task } from '#client/task.ts'
import { parseEntry } from '#core/logs/json-file.ts'
import { codeOf } from '#lib/errors/errors.ts'
import { packageRoot } from '#lib/release/release.ts'
import { type TestDaemon, run, startDaemon } from '#testing/daemon.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'

import { processesWith } from './runtime-bench.ts'

const image = 'docker.io/library/busybox:latest'
const wharf = join(packageRoot, 'bin/wharf.mjs')

suite('logs of containers', { skip: process.getuid?.() !== 0 && 'needs root' }, () => {
  let daemon: TestDaemon
  let client: Client

  const open = async (): Promise<Client> =>
    await connect(daemon.address, { namespace: 'logs', fifoDir: daemon.dir })

  before(async () => {
    daemon = await startDaemon()
    client = await open()
    await writeImage(busyboxImage(image), join(daemon.dir, 'oci.tar'))
    await client.images.import(join(daemon.dir, 'oci.tar'))
  })
  after(async () => {
    await client?.[Symbol.asyncDispose]()
    await daemon?.[Symbol.asyncDispose]()
  })

  const logs = (...args: readonly string[]): string[] => [
    wharf,
    'logs',
    '--address',
    daemon.address,
    '--namespace',
    'logs',
    ...args,
  ]
  const say = async (...args: readonly string[]) => await run(process.execPath, logs(...args))
  const uriOf = (name: string, query = ''): string =>
    `json-file://${join(daemon.dir, `${name}.log`)}${query}`
  const check = (title: string, body: () => Promise<void>): void => {
    void test(title, { timeout: 120_000 }, body)
  }

  check('wharf logs shows what a container has written, as it was written', async () => {
    const args = ['sh', '-c', 'echo one; echo two >&2; echo three; printf end; sleep 1000']
    await using container = await client.containers.create('shown', { image, args })
    await using _task = await container.start({ logUri: uriOf('shown') })
    // Its last line never ends.
    while ((await say('shown')).stdout.split('\n').length < 3) continue
    const { code, stdout, stderr } = await say('shown')
    assert.deepEqual([code, stdout, stderr], [0, 'one\nthree\n', 'two\n'])
    // Which stream comes first is nobody's to say.
    const last = await say('shown', '--tail', '1')
    assert.equal((last.stdout + last.stderr).split('\n').length, 2)
    assert.match((await say('shown', '-t')).stdout, /^\d{4}-\S+Z one\n\d{4}-\S+Z three\n$/)
    const json = (await say('shown', '--json')).stdout.trimEnd().split('\n')
    assert.deepEqual(
      new Set(json.map((line) => parseEntry(line)?.log)),
      new Set(['one\n', 'three\n', 'two\n']),
    )
    const { time = '' } = parseEntry(json[2] ?? '') ?? {}
    assert.equal((await say('shown', '--until', time, '--since', '1h')).code, 0)
    assert.equal((await say('shown', '--since', '2100-01-01')).stdout, '')
    const file = await say('--file', uriOf('shown'), '--tail', '2')
    assert.match(file.stdout, /three\n$/)
  })

  check('what cannot be shown is told, and what would help', async () => {
    await using container = await client.containers.create('other', { image, args: ['true'] })
    const none = await say('other')
    assert.deepEqual([none.code, none.stdout], [1, ''])
    assert.match(none.stderr, /^wharf: container other has no task whose output is logged/)
    await using _task = await container.start({ logUri: `file://${join(daemon.dir, 'plain')}` })
    assert.match((await say('other')).stderr, /goes to "file:.*json-file:\/\/\/path as log URI can/)
    assert.match((await say('nobody')).stderr, /container "nobody".*: not found/)
  })

  check(
    'following sees every line through restarts of the daemon, and ends with the container',
    async () => {
      const script = 'i=0; while [ $i -lt 30000 ]; do i=$((i+1)); echo $i; done'
      await using container = await client.containers.create('long', {
        image,
        args: ['sh', '-c', `${script}; read line`],
      })
      container.keep()
      const task = await container.start({ logUri: uriOf('long', '?max-size=100k&max-file=50') })
      const follower = spawn(process.execPath, logs('--follow', 'long'), {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const said = text(follower.stdout)
      await once(follower.stdout, 'readable')
      for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
        await daemon.stop(signal)
        await daemon.start()
      }
      void task
      await using again = await open()
      await (await (await again.containers.get('long')).task()).end()
      const lines = (await said).trimEnd().split('\n').map(Number)
      assert.equal(lines.length, 30_000)
      assert.ok(lines.every((line, n) => line === n + 1))
      await (await again.containers.get('long')).delete()
      client = await open()
    },
  )

  check('following goes on when the shim host is killed, and when the daemon is, too', async () => {
    const script = 'i=0; while true; do i=$((i+1)); echo $i; sleep 0.05; done'
    await using container = await client.containers.create('adopted', {
      image,
      args: ['sh', '-c', script],
    })
    container.keep()
    await container.start({ logUri: uriOf('adopted', '?max-size=10k&max-file=1000') })
    const follower = spawn(process.execPath, logs('--follow', 'adopted'), {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const seen: number[] = []
    const over = once(follower, 'exit')
    follower.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      seen.push(...chunk.split('\n').filter(Boolean).map(Number))
    })
    const more = async (): Promise<void> => {
      const enough = seen.length + 20
      while (seen.length < enough) {
        assert.equal(follower.exitCode, null, 'it goes on')
        await Promise.race([once(follower.stdout, 'data'), over])
      }
    }
    await more()
    for (const withDaemon of [false, true]) {
      // An adopted container is no child of its host.
      const hosts = processesWith('containerd-shim', daemon.dir, 'serve')
      assert.equal(hosts.length, 1)
      if (withDaemon) await daemon.stop('SIGKILL')
      for (const host of hosts) process.kill(host, 'SIGKILL')
      if (withDaemon) await daemon.start()
      await more()
    }
    await using again = await open()
    const adopted = await again.containers.get('adopted')
    await (await adopted.task()).end()
    assert.deepEqual(await over, [0, null])
    assert.ok(seen.every((line, n) => n === 0 || line > (seen[n - 1] ?? 0)))
    await adopted.delete()
    client = await open()
  })

  check('following ends with a container whose host was killed with it', async () => {
    await using container = await client.containers.create('killed', {
      image,
      args: ['sh', '-c', 'while true; do echo line; sleep 0.05; done'],
    })
    await using task = await container.start({ logUri: uriOf('killed') })
    const log = container.logs({ follow: true })
    assert.equal((await log.next()).value?.log, 'line\n')
    for (const pid of [hostOf(task.pid), task.pid]) process.kill(pid, 'SIGKILL')
    for await (const entry of log) assert.equal(entry.log, 'line\n')
    while (!(await isEnded(task))) continue
  })

  check('a reader that leaves early is no failure', async () => {
    await using container = await client.containers.create('left', {
      image,
      args: ['seq', '50000'],
    })
    await using task = await container.start({ logUri: uriOf('left') })
    await task.wait()
    const reader = execFile(process.execPath, logs('left'), { maxBuffer: 1 << 20 })
    reader.stdout?.once('data', () => reader.stdout?.destroy())
    const [code] = await once(reader, 'exit')
    assert.equal(code, 0)
  })
})

/** The shim host of a process: its parent. */
function hostOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
}

/** Ends a task, unless its host is just being replaced. */
async function isEnded(task: Task): Promise<boolean> {
  try {
    await task.end()
    return true
  } catch (err) {
    if (codeOf(err) !== 'unavailable') throw err
    return false
  }
}
