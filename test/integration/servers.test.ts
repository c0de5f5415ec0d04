import assert from 'node:assert/strict'
import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtempDisposable, readFile, rename, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { suite, test } from 'node:test'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'

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
import { everyContainerd } from '#testing/containerd.ts'
import { run, startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { bindNotifySocket } from '#testing/notify-socket.ts'
import { rejectsWith } from '#testing/rejects.ts'

/* What the daemon listens on, and how it behaves as a process. */

const skip = process.getuid?.() === 0 ? false : 'needs root'

/** Where a server said that it listens; the port is one that was free. */
async function addressOf(daemon: TestDaemon, plugin: string): Promise<string> {
  const log = await daemon.log()
  const found = new RegExp(`plugin=io.containerd.server.v1.${plugin} address="?([^" ]+)`).exec(log)
  return found?.[1] ?? assert.fail(log)
}

/** Polls until `look` gives something. */
async function eventually<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (let i = 0; i < 200; i++) {
    const found = await look()
    if (found !== undefined) return found
    await sleep(50)
  }
  throw new Error('it has not come')
}

suite('gRPC over TCP', { skip, timeout: 120_000 }, () => {
  test('serves those whose certificate the CA has signed, and nobody else', async () => {
    await using daemon = await startDaemon()
    const { dir } = daemon
    makeCertificates(dir)
    const file = (name: string): string => join(dir, name)
    await daemon.stop()
    await using secure = await startDaemon({
      dir,
      config: `[plugins."io.containerd.server.v1.grpc-tcp"]
address = "127.0.0.1:0"
tls_ca = "${file('ca.pem')}"
tls_cert = "${file('server.pem')}"
tls_key = "${file('server.key')}"`,
    })
    const target = await addressOf(secure, 'grpc-tcp')
    const ca = await readFile(file('ca.pem'))
    const [cert, key] = [await readFile(file('client.pem')), await readFile(file('client.key'))]
    const trusting = { ca, servername: 'localhost' }
    {
      await using connection = await connectGrpc(target, { tls: { ...trusting, cert, key } })
      assert.match((await connection.client(Version).version({})).version, /wharf/)
      const { namespaces } = await connection.client(Namespaces).list({})
      assert.deepEqual(namespaces, [])
    }
    await assert.rejects(versionAt(target, trusting), { code: 'unavailable' })
    const strange = {
      cert: await readFile(file('strange.pem')),
      key: await readFile(file('strange.key')),
    }
    await assert.rejects(versionAt(target, { ...trusting, ...strange }), { code: 'unavailable' })
    await assert.rejects(connectGrpc(target, { tls: { servername: 'localhost' } }), {
      code: 'unavailable',
    })
  })

  test('is refused without a certificate where others could reach it', async () => {
    await using daemon = await startDaemon({
      config: `[plugins."io.containerd.server.v1.grpc-tcp"]\naddress = "0.0.0.0:0"`,
    })
    assert.match(await daemon.log(), /grpc-tcp.*needs tls_cert and tls_key/)
    const listed = await run('ctr', ['-a', daemon.address, 'plugins', 'ls'])
    assert.match(listed.stdout, /server\.v1\s+grpc-tcp\s+-\s+error/)
  })
})

/** With TLS 1.3 a client learns that it is refused when it first reads. */
async function versionAt(
  target: string,
  tls: { readonly ca: Buffer; readonly servername: string },
): Promise<void> {
  await using connection = await connectGrpc(target, { tls })
  await connection.client(Version).version({})
}

function makeCertificates(dir: string): void {
  const openssl = (...args: readonly string[]): void => {
    execFileSync('openssl', args, { stdio: 'ignore', cwd: dir })
  }
  const fresh = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const self = (name: string, subject: string): void =>
    openssl(
      'req',
      '-x509',
      ...fresh,
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.pem`,
      '-subj',
      subject,
    )
  self('ca', '/CN=ca')
  self('strange', '/CN=strange')
  for (const name of ['server', 'client']) {
    const san = ['-addext', 'subjectAltName=DNS:localhost']
    const request = ['-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', '/CN=localhost']
    openssl('req', ...fresh, ...request, ...san)
    const signed = [
      '-CA',
      'ca.pem',
      '-CAkey',
      'ca.key',
      '-CAcreateserial',
      '-copy_extensions',
      'copy',
    ]
    openssl('x509', '-req', '-in', `${name}.csr`, ...signed, '-out', `${name}.pem`)
  }
}

suite('metrics and profiles', { skip, timeout: 180_000 }, () => {
  test('a scrape has the names that dashboards look for', async () => {
    await using daemon = await startDaemon({
      config: '[metrics]\naddress = "127.0.0.1:0"\ngrpc_histogram = true',
    })
    await run('ctr', ['-a', daemon.address, 'version'])
    await run('ctr', ['-a', daemon.address, 'snapshots', 'rm', 'nothing'])
    const url = `http://${await addressOf(daemon, 'metrics')}/v1/metrics`
    const response = await fetch(url)
    const text = await response.text()
    assert.match(response.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/)
    const service = 'grpc_service="containerd.services.version.v1.Version",grpc_method="Version"'
    for (const line of [
      `grpc_server_started_total{grpc_type="unary",${service}} 1`,
      `grpc_server_msg_received_total{grpc_type="unary",${service}} 1`,
      `grpc_server_msg_sent_total{grpc_type="unary",${service}} 1`,
      `grpc_server_handled_total{grpc_type="unary",${service},grpc_code="OK"} 1`,
      `grpc_server_handled_total{grpc_type="unary",${service},grpc_code="NotFound"} 0`,
      `grpc_server_handling_seconds_count{grpc_type="unary",${service}} 1`,
    ]) {
      assert.ok(text.includes(`\n${line}\n`), `${line}\n${text.slice(0, 4000)}`)
    }
    assert.match(text, /grpc_method="Remove",grpc_code="NotFound"} 1\n/)
    assert.match(text, /^containerd_build_info_total{version="v2[^"]*",revision=""} 1$/m)
    assert.match(text, /^process_open_fds \d+$/m)
    assert.match(text, /^# TYPE containerd_gc_gc_seconds histogram$/m)
    assert.equal((await fetch(`${url}/other`)).status, 404)
  })

  for (const { version, ctr } of everyContainerd()) {
    test(`ctr ${version} takes profiles`, async () => {
      await using daemon = await startDaemon()
      await daemon.stop()
      const socket = join(daemon.dir, 'debug.sock')
      await using debugged = await startDaemon({
        dir: daemon.dir,
        config: `[debug]\naddress = "${socket}"`,
      })
      const pprof = async (...args: readonly string[]): Promise<Buffer> => {
        const options = { encoding: 'buffer' } as const
        return (await promisify(execFile)(ctr, ['pprof', '-d', socket, ...args], options)).stdout
      }
      assert.equal((await stat(socket)).mode & 0o777, 0o660)
      assert.ok(gunzipSync(await pprof('profile', '-s', '1s')).includes('nanoseconds'))
      assert.ok(gunzipSync(await pprof('heap')).includes('inuse_space'))
      assert.match((await pprof('goroutines')).toString(), /open handles:[^]*debug\.sock/)
      await assert.rejects(pprof('block'), /501/)
      assert.equal((await debugged.log()).includes('level=error'), false)
    })
  }
})

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

suite('the daemon as a process', { skip, timeout: 120_000 }, () => {
  test('tells its service manager how far it is', async (t) => {
    await using first = await startDaemon()
    await first.stop()
    const path = join(first.dir, 'notify')
    using manager = bindNotifySocket(path)
    await using daemon = await startDaemon({ dir: first.dir, env: { NOTIFY_SOCKET: path } })
    assert.equal(await manager.next(t.signal), 'READY=1')
    daemon.process.kill('SIGHUP')
    assert.match(await manager.next(t.signal), /^RELOADING=1\nMONOTONIC_USEC=\d+$/)
    assert.equal(await manager.next(t.signal), 'READY=1')
    await daemon.stop()
    assert.equal(await manager.next(t.signal), 'STOPPING=1')
    assert.equal(daemon.process.exitCode, 0)
  })

  test('writes down what it does on SIGUSR1, and goes on', async () => {
    await using first = await startDaemon()
    await first.stop()
    await using daemon = await startDaemon({ dir: first.dir, env: { TMPDIR: first.dir } })
    const path = join(daemon.dir, `containerd.${daemon.process.pid}.stacks.log`)
    daemon.process.kill('SIGUSR1')
    const text = await eventually(async () => await readIfWhole(path))
    assert.match(text, /open handles:[^]*d\.sock/)
    daemon.process.kill('SIGPIPE')
    assert.equal((await run('ctr', ['-a', daemon.address, 'version'])).code, 0)
    assert.doesNotMatch(await daemon.log(), /Debugger listening/)
  })

  test('has the OOM score that is configured', async () => {
    await using daemon = await startDaemon({ top: 'oom_score = 321' })
    assert.equal(await readFile(`/proc/${daemon.process.pid}/oom_score_adj`, 'utf8'), '321\n')
  })

  test('ends what would go on for ever when it stops, and waits for the rest', async () => {
    await using daemon = await startDaemon()
    const events = spawn('ctr', ['-a', daemon.address, 'events'], { stdio: 'ignore' })
    const ended = once(events, 'exit')
    await sleep(500)
    await daemon.stop()
    assert.equal(daemon.process.exitCode, 0)
    await ended
  })

  test('stops at once when it is told twice', async () => {
    await using daemon = await startDaemon()
    await using connection = await connectGrpc(daemon.address, {
      metadata: inNamespace('default'),
    })
    const held = Promise.withResolvers<void>()
    async function* requests() {
      yield { ref: 'held' }
      await held.promise
    }
    const replies = connection.client(Content).write(requests())[Symbol.asyncIterator]()
    assert.equal((await replies.next()).done, false)
    const exited = once(daemon.process, 'exit')
    daemon.process.kill('SIGTERM')
    await eventually(async () => ((await daemon.log()).includes('msg=stopping') ? true : undefined))
    daemon.process.kill('SIGTERM')
    const [code] = await exited
    held.resolve()
    assert.equal(code, 1)
    await assert.rejects(replies.next())
  })
})

/** The text once its last section has been written. */
async function readIfWhole(path: string): Promise<string | undefined> {
  try {
    const text = await readFile(path, 'utf8')
    return text.includes('node-MainThread') ? text : undefined
  } catch {
    return undefined
  }
}
