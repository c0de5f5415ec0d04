import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type TestContext, test } from 'node:test'

import { Health } from '#gen/grpc/health_pb.ts'
import { codeOf, hasCode } from '#lib/errors/errors.ts'
import { type Call, implement } from '#lib/rpc/rpc.ts'

import { ReconnectingConnection } from './reconnecting.ts'
import { listenGrpc } from './server.ts'

/** A health service on `path` that counts its calls, and watches that last until they are left. */
async function listen(path: string, calls: string[] = []): Promise<AsyncDisposable> {
  const health = implement<object, typeof Health>(Health, {
    check({ service }) {
      calls.push(service)
      return { status: 1 }
    },
    async *watch() {
      yield { status: 1 }
      await Promise.resolve()
      yield { status: 2 }
    },
  })
  return await listenGrpc({ path }, { services: [health], context: () => ({}), stopMs: 100 })
}

interface Given {
  readonly path: string
  readonly connection: ReconnectingConnection
}

async function connected(t: TestContext, body: (given: Given) => Promise<void>): Promise<void> {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'reconnect-'))
  const path = join(dir.path, 's.sock')
  await using connection = new ReconnectingConnection(path, { minBackoffMs: 5, maxBackoffMs: 20 })
  await body({ path, connection })
  t.signal.throwIfAborted()
}

/** Calls until it is answered. */
async function answered(connection: ReconnectingConnection, t: TestContext): Promise<void> {
  for (;;) {
    t.signal.throwIfAborted()
    try {
      await connection.client(Health).check({ service: 'again' })
      return
    } catch (err) {
      if (!hasCode(err, 'unavailable')) throw err
      await sleep(5)
    }
  }
}

test('a connection that nobody answers fails its calls with unavailable, and heals', async (t) => {
  await connected(t, async ({ path, connection }) => {
    const client = connection.client(Health)
    const refused = (err: unknown): boolean => codeOf(err) === 'unavailable'
    await assert.rejects(client.check({}), refused)
    await assert.rejects(client.check({}), refused)
    await assert.rejects(Array.fromAsync(client.watch({})), refused)
    await using _server = await listen(path)
    await answered(connection, t)
    assert.equal((await client.check({})).status, 1)
  })
})

test('a client outlives the server it called, and finds the next one', async (t) => {
  await connected(t, async ({ path, connection }) => {
    const client = connection.client(Health)
    const [first, second] = [['first'], ['second']].map((): string[] => [])
    assert.ok(first && second)
    {
      await using _server = await listen(path, first)
      await client.check({ service: 'a' })
      assert.deepEqual(
        (await Array.fromAsync(client.watch({}))).map(({ status }) => status),
        [1, 2],
      )
    }
    await using _server = await listen(path, second)
    await answered(connection, t)
    await client.check({ service: 'b' })
    assert.deepEqual([first, second.at(-1)], [['a'], 'b'])
  })
})

test('calls that come together share one connection', async (t) => {
  await connected(t, async ({ path, connection }) => {
    const calls: string[] = []
    await using _server = await listen(path, calls)
    const client = connection.client(Health)
    const many = Array.from({ length: 20 }, (_, i) => client.check({ service: String(i) }))
    assert.equal((await Promise.all(many)).length, 20)
    assert.equal(calls.length, 20)
  })
})

test('a call says what is not hidden', async (t) => {
  if (t.signal.aborted) return
  await using dir = await mkdtempDisposable(join(tmpdir(), 'reconnect-'))
  const path = join(dir.path, 's.sock')
  const said: (string | undefined)[] = []
  const health = implement<Call, typeof Health>(Health, {
    check(_request, { metadata }) {
      said.push(metadata.get('namespace'), metadata.get('lease'))
      return {}
    },
  })
  const options = { services: [health], context: (call: Call) => call, stopMs: 100 }
  await using _server = await listenGrpc({ path }, options)
  await using connection = new ReconnectingConnection(path, { hidden: ['lease'] })
  await connection.client(Health).check({}, { metadata: { namespace: 'n', lease: 'l' } })
  assert.deepEqual(said, ['n', undefined])
})

test('a stream that is left before it began is not read', async (t) => {
  await connected(t, async ({ path, connection }) => {
    await using _server = await listen(path)
    const replies = connection.client(Health).watch({})[Symbol.asyncIterator]()
    assert.equal((await replies.return?.())?.done, true)
    assert.equal((await replies.next()).done, true)
  })
})

test('a call ends with its signal, and a closed connection takes none', async (t) => {
  await connected(t, async ({ path, connection }) => {
    await using _server = await listen(path)
    const client = connection.client(Health)
    await assert.rejects(client.check({}, { signal: AbortSignal.abort() }), (err) =>
      hasCode(err, 'canceled'),
    )
    await client.check({})
    await connection[Symbol.asyncDispose]()
    assert.ok(connection.closed.aborted)
    await assert.rejects(client.check({}), (err) => hasCode(err, 'unavailable'))
  })
})
