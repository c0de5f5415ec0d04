import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { silent } from '#core/context.ts'
import { Controller } from '#gen/services/sandbox_pb.ts'
import { CodedError, codeOf, describe } from '#lib/errors/errors.ts'
import { ReconnectingConnection } from '#lib/grpc/reconnecting.ts'
import { listenGrpc } from '#lib/grpc/server.ts'
import { type Call, implement } from '#lib/rpc/rpc.ts'

import { RemoteSandboxController } from './sandbox.ts'

/** A controller of one sandbox, whose end comes when `ended` says so. */
async function listen(path: string, ended: Promise<number>, asked: string[] = []) {
  const controller = implement<Call, typeof Controller>(Controller, {
    async wait(_request, { signal }) {
      asked.push('wait')
      const gone = new Promise<never>((_, reject) => {
        signal.addEventListener('abort', () => reject(new CodedError('unavailable', 'stopping')))
      })
      return { exitStatus: await Promise.race([ended, gone]) }
    },
    status: ({ sandboxId }) => {
      asked.push('status')
      return { sandboxId, state: 'SANDBOX_READY' }
    },
  })
  return await listenGrpc({ path }, { services: [controller], context: (call) => call, stopMs: 10 })
}

async function open(awayMs: number) {
  await using scope = new AsyncDisposableStack()
  const dir = scope.use(await mkdtempDisposable(join(tmpdir(), 'sandbox-')))
  const path = join(dir.path, 's.sock')
  const connection = scope.use(
    new ReconnectingConnection(path, { minBackoffMs: 5, maxBackoffMs: 20 }),
  )
  const stop = new AbortController()
  const remote = new RemoteSandboxController(connection, 'pods', { awayMs: () => awayMs })
  const held = scope.move()
  const ctx = { signal: stop.signal, log: silent, namespace: 'n' }
  return { path, remote, stop, ctx, [Symbol.asyncDispose]: async () => await held.disposeAsync() }
}

const never = new Promise<number>(() => {})

test('a wait for a sandbox ends when its controller stays away', { timeout: 30_000 }, async () => {
  await using far = await open(300)
  const asked: string[] = []
  const server = await listen(far.path, never, asked)
  const waiting = far.remote.wait(far.ctx, 'a')
  waiting.catch(() => {})
  while (asked.length === 0) await new Promise(setImmediate)
  await server[Symbol.asyncDispose]()
  await assert.rejects(waiting, (err) => {
    assert.equal(codeOf(err), 'unavailable')
    assert.match(describe(err), /wait for sandbox a: its controller pods has been away for 0.3 s/)
    assert.match(describe(err), /io\.wharf\.timeout\.sandbox\.away/)
    return true
  })
})

test('it goes on as often as the controller comes back', { timeout: 60_000 }, async () => {
  await using far = await open(20_000)
  const asked: string[] = []
  const waits = (): number => asked.filter((each) => each === 'wait').length
  const waiting = far.remote.wait(far.ctx, 'a')
  for (let n = 1; n <= 3; n += 1) {
    await using _ = await listen(far.path, never, asked)
    while (waits() < n) await new Promise(setImmediate)
  }
  await using _ = await listen(far.path, Promise.resolve(7), asked)
  assert.equal((await waiting).status, 7)
})

test('a client that leaves does not wait for a controller', { timeout: 30_000 }, async () => {
  await using far = await open(0)
  const waiting = far.remote.wait(far.ctx, 'a')
  far.stop.abort(new Error('left'))
  await assert.rejects(waiting)
})
