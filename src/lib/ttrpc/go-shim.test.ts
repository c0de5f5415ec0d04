import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtempDisposable, open, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { suite, test } from 'node:test'
import { promisify } from 'node:util'

import { Task } from '#gen/shim/task-v2_pb.ts'
import { codeOf } from '#lib/errors/errors.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { Stranger, text } from '#lib/rpc/suite/service.ts'

import { connectTtrpc } from './client.ts'

const shim = '/usr/bin/containerd-shim-runc-v2'
const skip = skipReason()

function skipReason(): string | false {
  if (process.getuid?.() !== 0) return 'a shim needs root'
  return existsSync(shim) ? false : `${shim} is not installed`
}

/** A shim without a container, as `start` leaves it: it serves until it is told to shut down. */
async function startShim(): Promise<{ connection: Connection; id: string } & AsyncDisposable> {
  const bundle = await mkdtempDisposable(join(tmpdir(), 'shim-'))
  const id = basename(bundle.path)
  await writeFile(join(bundle.path, 'config.json'), JSON.stringify({ ociVersion: '1.0.2' }))
  // The shim logs into a fifo that the daemon makes; open for both, it has a reader and blocks nobody.
  await promisify(execFile)('mkfifo', [join(bundle.path, 'log')])
  const log = await open(join(bundle.path, 'log'), 'r+')
  const flags = ['-namespace', 'test', '-address', '/x', '-publish-binary', '/bin/true', '-id', id]
  const started = promisify(execFile)(shim, [...flags, 'start'], {
    cwd: bundle.path,
    env: { ...process.env, TTRPC_ADDRESS: join(bundle.path, 'none') },
    timeout: 10_000,
  })
  started.child.stdin?.end()
  const address = (await started).stdout.trim()
  const connection = await connectTtrpc(address)
  return {
    connection,
    id,
    async [Symbol.asyncDispose]() {
      // The shim leaves so fast that its answer may be lost.
      await connection
        .client(Task)
        .shutdown({ id })
        .catch((err: unknown) => assert.equal(codeOf(err), 'unavailable'))
      if (!connection.closed.aborted) await once(connection.closed, 'abort')
      await rm(address.replace('unix://', ''), { force: true })
      await log.close()
      await bundle[Symbol.asyncDispose]()
    },
  }
}

suite('our ttrpc client of the Go shim', { skip, timeout: 30_000 }, () => {
  test('calls methods and gets errors with their code', async () => {
    await using running = await startShim()
    const { connection, id } = running
    const task = connection.client(Task)
    const { shimPid, version } = await task.connect({ id })
    assert.ok(shimPid > 0)
    assert.equal(version, '')
    await assert.rejects(task.state({ id: 'nobody' }), { code: 'not_found' })
    await assert.rejects(connection.client(Stranger).unary(text('a')), { code: 'unimplemented' })
    const calls = Array.from({ length: 100 }, () => task.connect({ id }, { timeoutMs: 5_000 }))
    for (const reply of await Promise.all(calls)) assert.equal(reply.shimPid, shimPid)
  })
})
