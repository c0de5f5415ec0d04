import assert from 'node:assert/strict'
import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'

import { silent } from '#core/context.ts'
import { jsonTypes } from '#core/any/any.ts'
import type { Sandbox } from '#core/sandbox/controller.ts'
import { Events } from '#gen/services/events_pb.ts'
import { Controller } from '#gen/services/sandbox_pb.ts'
import { hasCode } from '#lib/errors/errors.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { RemoteSandboxStore } from '#proxy/sandbox-store.ts'
import { RemoteSandboxController } from '#proxy/sandbox.ts'
import { containerd1, containerd2 } from '#testing/containerd.ts'
import { type Ran, type TestDaemon, run, startDaemon } from '#testing/daemon.ts'
import { eventually } from '#testing/eventually.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'
import { rejectsWith } from '#testing/rejects.ts'

const busybox = 'docker.io/library/busybox:latest'
const namespace = 'default'
/** Only ctr 2.x can put a container into a sandbox. */
const peer = containerd2()
const why = process.getuid?.() === 0 ? 'needs ctr 2.x' : 'needs root'
const skip = peer && process.getuid?.() === 0 ? false : why

suite('sandboxes', { skip, timeout: 240_000 }, () => {
  let daemon: TestDaemon
  let connection: Connection
  const ctx = { signal: new AbortController().signal, log: silent, namespace }

  const connect = async (): Promise<void> => {
    const metadata = { 'containerd-namespace': namespace }
    connection = await connectGrpc(daemon.address, { metadata })
  }
  before(async () => {
    daemon = await startDaemon()
    await connect()
    await writeImage(busyboxImage(busybox), join(daemon.dir, 'image.tar'))
    await ok('image', 'import', '--local', join(daemon.dir, 'image.tar'))
  })
  after(async () => {
    await connection[Symbol.asyncDispose]()
    await daemon[Symbol.asyncDispose]()
  })

  const ctr = async (...args: readonly string[]): Promise<Ran> =>
    await run(peer?.ctr ?? '', ['-a', daemon.address, ...args])
  const ok = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await ctr(...args)
    assert.equal(code, 0, `ctr ${args.join(' ')}: ${stdout}${stderr}\n${await daemon.log()}`)
    return stdout
  }
  const controller = () => new RemoteSandboxController(connection, 'shim')
  /** Records a sandbox and has the controller make it. */
  const create = async (id: string, runtime = 'io.containerd.runc.v2'): Promise<Sandbox> => {
    const store = new RemoteSandboxStore(connection)
    // Go's shims read the annotations of one.
    const spec = { typeUrl: jsonTypes.spec, value: Buffer.from('{}') }
    const given = { id, runtime: { name: runtime }, spec, sandboxer: 'shim' }
    const sandbox = await store.create(ctx, { ...given, labels: {}, extensions: {} })
    await controller().create(ctx, sandbox, { netnsPath: '/proc/self/ns/net' })
    return sandbox
  }
  const bundleOf = (id: string): string =>
    join(daemon.state, 'io.containerd.sandbox.controller.v1.shim', namespace, id)

  test('one goes through its life, and clients hear of it', async () => {
    const stop = new AbortController()
    const filters = ['topic~="/sandboxes/"']
    const seen = (async (): Promise<string[]> => {
      const topics: string[] = []
      const stream = connection.client(Events).subscribe({ filters }, { signal: stop.signal })
      for await (const { topic } of stream) if (topics.push(topic) === 3) break
      return topics
    })()
    const sandboxes = controller()
    await create('life')
    await rejectsWith('already_exists', create('life'))
    assert.equal((await sandboxes.status(ctx, 'life')).state, 'SANDBOX_NOTREADY')
    const started = await sandboxes.start(ctx, 'life')
    assert.equal(started.version, 3)
    assert.match(started.address, /^ttrpc\+unix:\/\/\//)
    assert.deepEqual(await sandboxes.platform(ctx, 'life'), {
      os: 'linux',
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      variant: '',
    })
    const status = await sandboxes.status(ctx, 'life', { verbose: true })
    assert.deepEqual(
      [status.state, status.address, status.info['netns'], status.info['containers']],
      ['SANDBOX_READY', started.address, '/proc/self/ns/net', '0'],
    )
    assert.equal(await sandboxes.metrics(ctx, 'life'), undefined)

    const waiting = sandboxes.wait(ctx, 'life')
    await sandboxes.stop(ctx, 'life')
    const exit = await waiting
    assert.equal(exit.status, 0)
    assert.ok(Math.abs(exit.exitedAt.getTime() - Date.now()) < 60_000)
    assert.equal((await sandboxes.status(ctx, 'life')).state, 'SANDBOX_NOTREADY')
    assert.ok(existsSync(bundleOf('life')))
    await sandboxes.shutdown(ctx, 'life')
    assert.ok(!existsSync(bundleOf('life')))
    assert.deepEqual(await seen, ['/sandboxes/create', '/sandboxes/start', '/sandboxes/exit'])
    stop.abort()
  })

  test('what is not there is told as containerd tells it', async () => {
    const sandboxes = controller()
    await sandboxes.stop(ctx, 'none')
    assert.equal((await sandboxes.status(ctx, 'none')).state, '')
    await rejectsWith('not_found', sandboxes.wait(ctx, 'none'), /not found/)
    await rejectsWith('not_found', sandboxes.start(ctx, 'none'), /unable to find sandbox "none"/)
    await rejectsWith('not_found', sandboxes.shutdown(ctx, 'none'))
    const other = new RemoteSandboxController(connection, 'nobody')
    const message = 'not found: failed to get sandbox controller by nobody'
    await rejectsWith('not_found', other.platform(ctx, 'none'), message)
    const nameless = connection.client(Controller).platform({ sandboxId: 'none' })
    await rejectsWith('invalid_argument', nameless, /controller name can not be empty/)
  })

  test('tasks join one, survive a restart of the daemon with it, and end with it', async () => {
    await create('pod')
    const { address } = await controller().start(ctx, 'pod')
    for (const id of ['a', 'b']) {
      await ok('run', '--sandbox', 'pod', '-d', busybox, id, 'sh', '-c', 'exec sleep 1000')
    }
    const bundle = join(daemon.state, 'io.containerd.runtime.v2.task', namespace, 'a')
    assert.equal(readFileSync(join(bundle, 'sandbox'), 'utf8'), 'pod')
    const boot: unknown = JSON.parse(readFileSync(join(bundle, 'bootstrap.json'), 'utf8'))
    assert.deepEqual(boot, {
      version: 3,
      address: address.slice('ttrpc+'.length),
      protocol: 'ttrpc',
    })

    await connection[Symbol.asyncDispose]()
    await daemon.stop()
    await daemon.start()
    await connect()
    const status = await controller().status(ctx, 'pod', { verbose: true })
    assert.deepEqual([status.state, status.info['containers']], ['SANDBOX_READY', '2'])
    assert.match(await ok('task', 'ls'), /^a\s+\d+\s+RUNNING$/m)

    await ok('task', 'kill', '-s', 'KILL', 'a')
    await eventually(async () => (await ok('task', 'ls')).includes('STOPPED') || undefined)
    await ctr('task', 'rm', 'a')
    assert.equal((await controller().status(ctx, 'pod')).state, 'SANDBOX_READY')
    const waiting = controller().wait(ctx, 'pod')
    await controller().stop(ctx, 'pod', { timeoutMs: 1000 })
    await waiting
    assert.match(await ok('task', 'ls'), /^b\s+\d+\s+STOPPED$/m)
    assert.match((await ctr('task', 'rm', 'b')).stderr, /code 1(43|37)/)
    await controller().shutdown(ctx, 'pod')
    for (const id of ['a', 'b']) await ok('container', 'rm', id)
  })

  test('a task of a sandbox that nobody recorded has a shim as any other', async () => {
    const ran = await ctr('run', '--rm', '--sandbox', 'unknown', busybox, 'c', 'echo', 'hi')
    assert.deepEqual([ran.code, ran.stdout], [0, 'hi\n'], ran.stderr)
  })

  test('a task of one that does not run is refused', async () => {
    await create('gone')
    await controller().shutdown(ctx, 'gone')
    const ran = await ctr('run', '--rm', '--sandbox', 'gone', busybox, 'd', 'true')
    assert.match(ran.stderr, /failed to start shim: can't find shim for sandbox gone: not found/)
    await ctr('container', 'rm', 'd')
  })

  const killHosts = async (): Promise<void> => {
    const hosts = (await run('pgrep', ['-f', `${daemon.address}.*serve`])).stdout
    for (const pid of hosts.split('\n').filter(Boolean)) process.kill(Number(pid), 'SIGKILL')
  }

  test('when its host is killed another one has it, with its tasks', async () => {
    await create('kept')
    await create('new')
    const { address } = await controller().start(ctx, 'kept')
    const { createdAt } = await controller().status(ctx, 'kept')
    await ok('run', '--sandbox', 'kept', '-d', busybox, 'k', 'sleep', '1000')
    const leave = new AbortController()
    const waiting = controller().wait({ ...ctx, signal: leave.signal }, 'kept')
    const look = async (): Promise<readonly unknown[]> => {
      const { state, info, ...found } = await controller().status(ctx, 'kept', { verbose: true })
      const tasks = await ok('task', 'ls')
      const { containers, netns } = info
      return [state, containers, netns, found.createdAt, found.address, /^k.*RUNNING$/m.test(tasks)]
    }
    const netns = '/proc/self/ns/net'
    const whole = ['SANDBOX_READY', '1', netns, createdAt, address, true]
    assert.deepEqual(await look(), whole)

    await killHosts()
    assert.deepEqual(await eventually(async () => await look().catch(unavailable)), whole)
    // Also when there is no daemon that would see it.
    leave.abort(new Error('left'))
    await assert.rejects(waiting, (err) => hasCode(err, 'canceled'))
    await daemon.stop('SIGKILL')
    await connection[Symbol.asyncDispose]()
    await killHosts()
    await daemon.start()
    await connect()
    assert.deepEqual(await look(), whole)

    assert.equal((await controller().status(ctx, 'new')).state, 'SANDBOX_NOTREADY')
    await controller().start(ctx, 'new')
    const ended = ['kept', 'new'].map(async (id) => await controller().wait(ctx, id))
    await killHosts()
    for (const id of ['kept', 'new']) await controller().stop(ctx, id)
    assert.deepEqual(
      (await Promise.all(ended)).map(({ status }) => status),
      [0, 0],
    )
    await ctr('task', 'rm', 'k')
    await ok('container', 'rm', 'k')
    await killHosts()
    await eventually(async () => await controller().status(ctx, 'kept').catch(unavailable))
    for (const id of ['kept', 'new']) {
      assert.equal((await controller().status(ctx, id)).state, 'SANDBOX_NOTREADY')
      await controller().shutdown(ctx, id)
      assert.ok(!existsSync(bundleOf(id)))
    }
  })

  test('when its host is killed and nothing says what it was, it ends and leaves nothing', async () => {
    await create('killed')
    await controller().start(ctx, 'killed')
    rmSync(join(bundleOf('killed'), 'sandbox.json'))
    const exited = listen(connection, 'killed')
    await killHosts()
    assert.deepEqual(await exited, ['/tasks/exit', '/tasks/delete'])
    const gone = (): boolean => readdirSync(join(bundleOf('killed'), '..')).length === 0
    await eventually(async () => (await Promise.resolve(gone())) || undefined)
    assert.equal((await controller().status(ctx, 'killed')).state, '')
  })

  test('a shim without the sandbox API is named, and nothing of it stays', async () => {
    for (const shim of [containerd1()?.shim, peer?.shim]) {
      if (shim === undefined) continue
      const id = `go${shim.length}`
      await rejectsWith('unimplemented', create(id, shim), new RegExp(`${shim} does not serve the`))
      assert.ok(!existsSync(bundleOf(id)))
      assert.equal((await run('pgrep', ['-f', `${shim}.*-id ${id}`])).stdout, '')
    }
  })
})

/** A call that was under way when its host was killed can be made again. */
function unavailable(err: unknown): undefined {
  if (!hasCode(err, 'unavailable')) throw err
}

/** The topics that tell of the end of `id`. */
async function listen(connection: Connection, id: string): Promise<string[]> {
  const topics: string[] = []
  const filters = [`topic~="/tasks/",event.container_id==${id}`]
  for await (const { topic } of connection.client(Events).subscribe({ filters })) {
    if (topics.push(topic) === 2) break
  }
  return topics
}
