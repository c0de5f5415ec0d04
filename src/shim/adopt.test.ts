import assert from 'node:assert/strict'
import { closeSync, constants, existsSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, suite, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { readLog } from '#client/logs/read-log.ts'
import { Status } from '#gen/types/task_pb.ts'
import { root } from '#testing/root.ts'

import {
  type Bundle,
  ShimFixture,
  type TaskClient,
  execSpec,
  fails,
  readFifo,
} from './test-host.ts'

const { O_RDWR, O_NONBLOCK } = constants

const check = (title: string, body: (shim: ShimFixture) => Promise<void>): void => {
  test(title, { timeout: 60_000 }, async (t: TestContext) => {
    if (!root(t)) return
    await using shim = await ShimFixture.open()
    await body(shim)
  })
}

/** Kills the host and has another one started, for `bundle`. */
async function replaceHost(shim: ShimFixture, bundle: Bundle): Promise<TaskClient> {
  await killHost(shim)
  return await shim.connect(bundle)
}

async function killHost(shim: ShimFixture): Promise<void> {
  const [host = 0] = shim.hosts()
  process.kill(host, 'SIGKILL')
  await shim.until(() => shim.hosts().length === 0)
}

/** Connects for each bundle as a daemon does, which starts a shim for each. */
async function connectAll(shim: ShimFixture, bundles: readonly Bundle[]): Promise<TaskClient> {
  const clients = await Promise.all(bundles.map((bundle) => shim.connect(bundle)))
  const [first] = clients
  assert.ok(first)
  return first
}

/** Says 300 numbers, and reads a line between two hundreds. */
const counting =
  'for n in 0 1 2; do seq $((n * 100)) $((n * 100 + 99)); [ $n = 2 ] || read line; done; exit 3'

const textOf = (path: string): string => (existsSync(path) ? readFileSync(path, 'utf8') : '')

/** A client of an input that stays while there is no host: the input would end otherwise. */
function holdOpen(fifo: string): Disposable {
  const fd = openSync(fifo, O_RDWR | O_NONBLOCK)
  return { [Symbol.dispose]: () => closeSync(fd) }
}

/** Whether the kernel tells how a process has ended that is nobody's child here. */
const tellsExits = (): boolean => {
  const [, major = 0, minor = 0] =
    /^(\d+)\.(\d+)/.exec(readFileSync('/proc/sys/kernel/osrelease', 'utf8')) ?? []
  return Number(major) * 1000 + Number(minor) >= 6015
}
const seen = (status: number): number => (tellsExits() ? status : 255)

suite('a host in the place of one that was killed', () => {
  check('has its containers, their streams, and sees how they end', async (shim) => {
    const [one, two] = [
      await shim.bundle('one', ['sh', '-c', 'read line; echo "got $line"; read end; exit 7']),
      await shim.bundle('two', ['sleep', '1000']),
    ]
    const [stdin, stdout] = [await shim.fifo('in'), await shim.fifo('out')]
    const before = await connectAll(shim, [one, two])
    const { pid } = await before.create({ ...one.request, stdin, stdout })
    await before.start({ id: 'one' })
    await before.create(two.request)
    await before.start({ id: 'two' })

    const client = holdOpen(stdin)
    const after = await replaceHost(shim, two)
    client[Symbol.dispose]()
    const state = await after.state({ id: 'one' })
    assert.deepEqual(
      [state.status, state.pid, state.stdin, state.stdout, state.bundle],
      [Status.RUNNING, pid, stdin, stdout, one.path],
    )
    // A client that comes only now, writes and leaves: neither stream has broken meanwhile.
    writeFileSync(stdin, 'hello\n')
    const output = readFifo(stdout)
    await sleep(200)
    assert.equal((await after.state({ id: 'one' })).status, Status.RUNNING)
    writeFileSync(stdin, 'end\n')
    assert.equal((await after.wait({ id: 'one' })).exitStatus, seen(7))
    assert.equal((await after.delete({ id: 'one' })).exitStatus, seen(7))
    assert.equal(await output, 'got hello\n')

    await after.kill({ id: 'two', signal: 15 })
    await after.kill({ id: 'two', signal: 9 })
    assert.equal((await after.wait({ id: 'two' })).exitStatus, seen(137))
    await after.delete({ id: 'two' })
    assert.deepEqual(
      shim.exits().map(({ containerId, exitStatus }) => [containerId, exitStatus]),
      [
        ['one', seen(7)],
        ['two', seen(137)],
      ],
    )
    const begun = ['/tasks/create', '/tasks/start', '/tasks/create', '/tasks/start']
    const ended = ['/tasks/exit', '/tasks/delete', '/tasks/exit', '/tasks/delete']
    assert.deepEqual(await shim.topics(8), [...begun, ...ended])
  })

  check('has execs, and knows those that have ended', async (shim) => {
    const bundle = await shim.bundle('e', ['sleep', '1000'])
    const before = await shim.connect(bundle)
    await before.create(bundle.request)
    await before.start({ id: 'e' })
    using clients = new DisposableStack()
    for (const [execId, script] of [
      ['ended', 'exit 3'],
      ['runs', 'read line; exit 5'],
    ] as const) {
      const stdin = await shim.fifo(execId)
      clients.use(holdOpen(stdin))
      await before.exec({ id: 'e', execId, stdin, spec: execSpec('sh', '-c', script) })
      await before.start({ id: 'e', execId })
    }
    assert.equal((await before.wait({ id: 'e', execId: 'ended' })).exitStatus, 3)

    const after = await replaceHost(shim, bundle)
    assert.equal((await after.wait({ id: 'e', execId: 'ended' })).exitStatus, 3)
    assert.equal((await after.delete({ id: 'e', execId: 'ended' })).exitStatus, 3)
    assert.equal((await after.state({ id: 'e', execId: 'runs' })).status, Status.RUNNING)
    writeFileSync(join(shim.dir, 'runs'), 'go\n')
    assert.equal((await after.wait({ id: 'e', execId: 'runs' })).exitStatus, seen(5))
    await after.exec({ id: 'e', execId: 'new', spec: execSpec('true') })
    await after.start({ id: 'e', execId: 'new' })
    assert.equal((await after.wait({ id: 'e', execId: 'new' })).exitStatus, 0)
    await after.kill({ id: 'e', signal: 9 })
    await after.wait({ id: 'e' })
    await after.delete({ id: 'e' })
  })

  check(
    'finds each container as it was: created, paused, ended, with closed input',
    async (shim) => {
      const bundles = new Map<string, Bundle>()
      for (const id of ['created', 'paused', 'ended', 'closed']) {
        const args = id === 'ended' ? ['sh', '-c', 'exit 9'] : ['cat']
        bundles.set(id, await shim.bundle(id, args))
      }
      const bundle = bundles.get('created')
      assert.ok(bundle)
      const before = await connectAll(shim, [...bundles.values()])
      const stdin = await shim.fifo('in')
      const client = holdOpen(stdin)
      for (const [id, { request }] of bundles) {
        await before.create({ ...request, stdin: id === 'ended' ? '' : stdin })
        if (id !== 'created') await before.start({ id })
      }
      await before.pause({ id: 'paused' })
      await before.wait({ id: 'ended' })
      await before.closeIO({ id: 'closed', stdin: true })

      const after = await replaceHost(shim, bundle)
      const statusOf = async (id: string): Promise<Status> => (await after.state({ id })).status
      assert.deepEqual(await Promise.all([...bundles.keys()].map(statusOf)), [
        Status.CREATED,
        Status.PAUSED,
        Status.STOPPED,
        Status.RUNNING,
      ])
      assert.equal((await after.delete({ id: 'ended' })).exitStatus, 9)
      await after.start({ id: 'created' })
      await after.resume({ id: 'paused' })
      for (const id of ['created', 'paused', 'closed']) await after.closeIO({ id, stdin: true })
      client[Symbol.dispose]()
      for (const id of ['created', 'paused', 'closed']) {
        assert.equal((await after.wait({ id })).exitStatus, seen(0))
        await after.delete({ id })
      }
    },
  )

  check('goes on with their logs, and with what they said meanwhile', async (shim) => {
    const bundle = await shim.bundle('c', ['sh', '-c', counting])
    const [stdin, execIn] = [await shim.fifo('in'), await shim.fifo('exec-in')]
    const paths = ['c', 'e', 'b'].map((name) => join(shim.dir, `${name}.log`))
    const [log = '', execLog = '', loggerLog = ''] = paths
    const logger = join(shim.dir, 'logger')
    writeFileSync(logger, `#!/bin/sh\nexec cat <&3 >${loggerLog} 5>&-\n`, { mode: 0o755 })
    const other = await shim.bundle('b', ['sh', '-c', counting])
    const before = await connectAll(shim, [bundle, other])
    await before.create({ ...bundle.request, stdin, stdout: `json-file://${log}` })
    await before.start({ id: 'c' })
    const exec = { id: 'c', execId: 'e', spec: execSpec('sh', '-c', counting) }
    await before.exec({ ...exec, stdin: execIn, stdout: `json-file://${execLog}` })
    await before.start({ id: 'c', execId: 'e' })
    const logged = await shim.fifo('logger-in')
    await before.create({ ...other.request, stdin: logged, stdout: `binary://${logger}` })
    await before.start({ id: 'b' })
    using clients = new DisposableStack()
    for (const fifo of [stdin, execIn, logged]) clients.use(holdOpen(fifo))
    await shim.until(() => paths.every((path) => textOf(path).includes('99')))

    await killHost(shim)
    // Nobody reads what they say now.
    for (const fifo of [stdin, execIn, logged]) writeFileSync(fifo, 'go on\n')
    await sleep(300)
    const after = await shim.connect(bundle)
    for (const ids of [{ id: 'c', execId: 'e' }, { id: 'c' }, { id: 'b' }]) {
      const fifo = ids.id === 'b' ? logged : ids.execId ? execIn : stdin
      writeFileSync(fifo, 'end\n')
      assert.equal((await after.wait(ids)).exitStatus, seen(3))
      await after.delete(ids)
    }
    const numbers = Array.from({ length: 300 }, (_, n) => `${n}\n`)
    for (const path of [log, execLog]) {
      const entries = await Array.fromAsync(readLog(path))
      assert.deepEqual(
        entries.map((entry) => entry.log),
        numbers,
      )
    }
    await shim.until(() => textOf(loggerLog) === numbers.join(''))
  })

  check('leaves alone what it cannot vouch for', async (shim) => {
    const [gone, other] = [await shim.bundle('gone', ['cat']), await shim.bundle('other', ['cat'])]
    const before = await shim.connect(gone)
    const stdin = await shim.fifo('in')
    const { pid } = await before.create({ ...gone.request, stdin })
    await before.start({ id: 'gone' })
    await killHost(shim)
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // Without the host its input has ended.
    }
    await shim.until(() => !isAlive(pid))
    // The number means another process now.
    const record = join(gone.path, 'container.json')
    const text = readFileSync(record, 'utf8').replace(`"pid":${pid},`, `"pid":${process.pid},`)
    writeFileSync(record, text)

    const after = await shim.connect(other)
    await fails(after.state({ id: 'gone' }), 'not_found', /container not created/)
    const { code } = await shim.shim(gone, 'delete')
    assert.equal(code, 0)
  })

  check('forgets a container that the delete command has removed', async (shim) => {
    const [one, two] = [await shim.bundle('one', ['sleep', '99']), await shim.bundle('two', [])]
    const before = await shim.connect(one)
    await before.create(one.request)
    await before.start({ id: 'one' })
    const after = await replaceHost(shim, two)
    assert.equal((await shim.shim(one, 'delete')).code, 0)
    assert.equal((await after.wait({ id: 'one' })).exitStatus, seen(137))
    // As a daemon does next.
    await rm(one.path, { recursive: true })
    const again = await shim.bundle('one', ['true'])
    const { pid } = await after.create(again.request)
    assert.ok(pid > 0)
    await after.delete({ id: 'one' })
  })
})

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}
