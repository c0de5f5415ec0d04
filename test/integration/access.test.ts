import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmod, mkdtempDisposable, readFile, rename, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { suite, test } from 'node:test'
import { promisify } from 'node:util'

import type { DescMethod, DescService } from '@bufbuild/protobuf'

import { Health } from '#gen/grpc/health_pb.ts'
import { Containers } from '#gen/services/containers_pb.ts'
import { Content } from '#gen/services/content_pb.ts'
import { Diff } from '#gen/services/diff_pb.ts'
import { Events } from '#gen/services/events_pb.ts'
import { Images } from '#gen/services/images_pb.ts'
import { Introspection } from '#gen/services/introspection_pb.ts'
import { Leases } from '#gen/services/leases_pb.ts'
import { Mounts } from '#gen/services/mounts_pb.ts'
import { Namespaces } from '#gen/services/namespaces_pb.ts'
import { Controller, Store } from '#gen/services/sandbox_pb.ts'
import { Snapshots } from '#gen/services/snapshots_pb.ts'
import { Streaming } from '#gen/services/streaming_pb.ts'
import { Tasks } from '#gen/services/tasks_pb.ts'
import { Transfer } from '#gen/services/transfer_pb.ts'
import { Version } from '#gen/services/version_pb.ts'
import { isAsyncIterable } from '#lib/async/is-async-iterable.ts'
import { type ErrorCode, codeOf } from '#lib/errors/errors.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { run, startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { eventually } from '#testing/eventually.ts'
import { rejectsWith } from '#testing/rejects.ts'

/* Who may do what over which socket, and what is written down of it. */

const skip = process.getuid?.() === 0 ? false : 'needs root'

suite('who may do what', { skip, timeout: 180_000 }, () => {
  const services: readonly DescService[] = [
    Containers,
    Content,
    Controller,
    Diff,
    Events,
    Health,
    Images,
    Introspection,
    Leases,
    Mounts,
    Namespaces,
    Snapshots,
    Store,
    Streaming,
    Tasks,
    Transfer,
    Version,
  ]
  /** Methods that only read, by name: no service has one of these names for anything else. */
  const reading =
    /^(Check|Get|Info|List|ListPids|ListResources|ListStatuses|ListStream|Metrics|Mounts|Platform|Plugins|Read|Server|Stat|Status|Subscribe|Usage|Version|Wait|Watch)$/

  test('a socket for readers lets every method read and none write', async () => {
    await withListeners(['role = "read-only"\nmode = 0o600'], async (daemon, [path = '']) => {
      assert.equal((await stat(path)).mode & 0o777, 0o600)
      await using connection = await connectGrpc(path, { metadata: inNamespace('default') })
      for (const service of services) {
        for (const method of service.methods) {
          const code = await outcome(connection, method)
          const name = `${service.typeName}/${method.name}: ${code}`
          assert.equal(code === 'permission_denied', !reading.test(method.name), name)
        }
      }
      await rejectsWith(
        'permission_denied',
        connection.client(Images).delete({ name: 'x' }),
        new RegExp(`Images/Delete is not allowed on ${path}, whose role is read-only`),
      )
      await using main = await connectGrpc(daemon.address, { metadata: inNamespace('default') })
      await rejectsWith('not_found', main.client(Images).delete({ name: 'x' }))
    })
  })

  test('a socket for some namespaces shows and changes nothing of others', async () => {
    await withListeners(['role = { namespaces = ["a"] }'], async (daemon, [path = '']) => {
      for (const name of ['a', 'b']) {
        assert.equal((await run('ctr', ['-a', daemon.address, 'ns', 'create', name])).code, 0)
      }
      await using a = await connectGrpc(path, { metadata: inNamespace('a') })
      await using b = await connectGrpc(path, { metadata: inNamespace('b') })
      await using none = await connectGrpc(path)
      await a.client(Images).list({})
      await rejectsWith('permission_denied', b.client(Images).list({}), /namespaces = \["a"\]/)
      await rejectsWith('permission_denied', none.client(Images).list({}))
      assert.match((await none.client(Version).version({})).version, /wharf/)
      // `ctr version` sends the namespace it would use for other things.
      assert.match((await b.client(Version).version({})).version, /wharf/)
      assert.ok((await b.client(Introspection).plugins({})).plugins.length > 0)
      const { namespaces } = await a.client(Namespaces).list({})
      assert.deepEqual(
        namespaces.map(({ name }) => name),
        ['a'],
      )
      await rejectsWith('permission_denied', a.client(Namespaces).get({ name: 'b' }))
      await rejectsWith('permission_denied', a.client(Namespaces).delete({ name: 'b' }))
      await rejectsWith('permission_denied', a.client(Introspection).pluginInfo({ id: 'x' }))
      await onlyEventsOf(a, daemon)
    })
  })

  test('a socket for some services serves those alone', async () => {
    await withListeners(['role = { services = ["images", "version"] }'], async (_, [path = '']) => {
      await using connection = await connectGrpc(path, { metadata: inNamespace('default') })
      await connection.client(Images).list({})
      await connection.client(Version).version({})
      await rejectsWith('permission_denied', connection.client(Containers).list({}), /images/i)
    })
  })

  test('a role that cannot be understood opens no socket', async () => {
    await withListeners(['role = "read only"'], async (daemon, [path = '']) => {
      await assert.rejects(stat(path), { code: 'ENOENT' })
      assert.match(await daemon.log(), /listeners.*must be .*read-only/)
    })
  })

  test('shims of another user are not listened to', async () => {
    await using daemon = await startDaemon()
    const path = `${daemon.address}.ttrpc`
    await chmod(daemon.dir, 0o711)
    await chmod(path, 0o666)
    assert.equal(await ttrpcAs(path, 0), 'answered')
    assert.equal(await ttrpcAs(path, 65_534), 'closed')
    assert.match(await daemon.log(), /uid 65534 and gid 65534 may not report events/)
  })
})

const inNamespace = (namespace: string) => ({ 'containerd-namespace': namespace })

async function withListeners(
  roles: readonly string[],
  body: (daemon: TestDaemon, paths: readonly string[]) => Promise<void>,
): Promise<void> {
  await using first = await startDaemon()
  await first.stop()
  const paths = roles.map((_, i) => join(first.state, `listener${i}.sock`))
  const tables = roles.map((role, i) => `[[listeners]]\naddress = "${paths[i]}"\n${role}\n`)
  await using daemon = await startDaemon({ dir: first.dir, config: tables.join('\n') })
  await body(daemon, paths)
}

/** How a call with an empty request ends; `undefined` when it is answered or goes on. */
async function outcome(connection: Connection, method: DescMethod): Promise<ErrorCode | undefined> {
  const client: Readonly<Record<string, unknown>> = connection.client(method.parent)
  const call = client[method.localName]
  assert.ok(typeof call === 'function')
  const enough = new AbortController()
  using _soon = setTimeout(() => enough.abort(), 300)
  const request = method.methodKind === 'bidi_streaming' ? nothing() : {}
  try {
    const reply: unknown = await call.call(client, request, { signal: enough.signal })
    if (isAsyncIterable(reply)) for await (const _ of reply) break
    return undefined
  } catch (err) {
    return codeOf(err)
  }
}

// oxlint-disable-next-line require-yield -- a client that sends nothing
async function* nothing(): AsyncGenerator {
  await Promise.resolve()
}

/** What happens in `b` is not told to a client of `a`; what happens in `a` is. */
async function onlyEventsOf(a: Connection, daemon: TestDaemon): Promise<void> {
  const enough = new AbortController()
  const seen: string[] = []
  const watching = (async () => {
    for await (const { namespace } of a.client(Events).subscribe({}, enough)) {
      seen.push(namespace)
      if (namespace === 'a') break
    }
  })()
  await sleep(500)
  for (const name of ['b', 'a']) {
    await run('ctr', ['-a', daemon.address, 'ns', 'label', name, 'x=y'])
  }
  await watching
  assert.deepEqual(seen, ['a'])
}

/** What a ttrpc server does with a request from a process of this user. */
async function ttrpcAs(path: string, id: number): Promise<string> {
  const program = `
    process.setgroups([]); process.setgid(${id}); process.setuid(${id})
    const socket = require('node:net').connect(${JSON.stringify(path)})
    socket.on('error', () => {})
    socket.on('data', () => { console.log('answered'); process.exit() })
    socket.on('close', () => { console.log('closed'); process.exit() })
    const request = Buffer.from([0x0a, 1, 0x78, 0x12, 1, 0x79])
    const header = Buffer.alloc(10)
    header.writeUInt32BE(request.length, 0)
    header.writeUInt32BE(1, 4)
    header[8] = 1
    socket.write(Buffer.concat([header, request]))`
  const { stdout } = await promisify(execFile)(process.execPath, ['--eval', program])
  return stdout.trim()
}

suite('the audit log', { skip, timeout: 120_000 }, () => {
  test('has a line for what changes something, and begins anew on SIGHUP', async () => {
    await using first = await startDaemon()
    await first.stop()
    const path = join(first.dir, 'audit', 'log')
    const config = `[audit]\nlevel = "mutations"\npath = "${path}"`
    await using daemon = await startDaemon({ dir: first.dir, config })
    const ctr = async (...args: readonly string[]): Promise<void> => {
      await run('ctr', ['-a', daemon.address, ...args])
    }
    await ctr('ns', 'create', 'one')
    await ctr('ns', 'ls')
    await ctr('-n', 'one', 'image', 'rm', 'nothing')
    const lines = await eventually(async () => await auditLines(path, 2))
    assert.deepEqual(
      lines.map(({ method, namespace, target, code }) => [method, namespace, target, code]),
      [
        ['/containerd.services.namespaces.v1.Namespaces/Create', 'default', { name: 'one' }, 'OK'],
        ['/containerd.services.images.v1.Images/Delete', 'one', { name: 'nothing' }, 'NotFound'],
      ],
    )
    for (const { uid, gid, comm, exe } of lines) {
      assert.deepEqual([uid, gid, comm], [0, 0, 'ctr'])
      assert.match(String(exe), /ctr$/)
    }
    assert.equal((await stat(path)).mode & 0o777, 0o600)
    await rename(path, `${path}.1`)
    daemon.process.kill('SIGHUP')
    await eventually(async () => await auditLines(path, 0))
    await ctr('ns', 'create', 'two')
    const [line] = await eventually(async () => await auditLines(path, 1))
    assert.deepEqual(line?.['target'], { name: 'two' })
    assert.equal((await auditLines(`${path}.1`, 2))?.length, 2)
  })

  test('is a condition for serving', async () => {
    const config = '[audit]\nlevel = "all"\npath = "/dev/null/audit/log"'
    await using dir = await mkdtempDisposable(join(tmpdir(), 'wharfd-'))
    await assert.rejects(
      startDaemon({ dir: dir.path, config }),
      /calls are to be recorded, and cannot be/,
    )
  })
})

type Line = Readonly<Record<string, unknown>>

async function auditLines(path: string, count: number): Promise<readonly Line[] | undefined> {
  try {
    const lines = (await readFile(path, 'utf8')).split('\n').filter(Boolean)
    return lines.length === count ? lines.map((line): Line => JSON.parse(line)) : undefined
  } catch {
    return undefined
  }
}
