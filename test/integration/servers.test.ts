import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { promisify } from 'node:util'
import { gunzipSync } from 'node:zlib'

import { Introspection } from '#gen/services/introspection_pb.ts'
import { Namespaces } from '#gen/services/namespaces_pb.ts'
import { Version } from '#gen/services/version_pb.ts'
import { connectGrpc } from '#lib/grpc/client.ts'
import { cgroupMode } from '#sys/cgroup.ts'
import { everyContainerd } from '#testing/containerd.ts'
import { run, startDaemon, type TestDaemon } from '#testing/daemon.ts'

/* What the daemon listens on, and what it says of itself. */

const skip = process.getuid?.() === 0 ? false : 'needs root'

/** Where a server said that it listens; the port is one that was free. */
async function addressOf(daemon: TestDaemon, plugin: string): Promise<string> {
  const log = await daemon.log()
  const found = new RegExp(`plugin=io.containerd.server.v1.${plugin} address="?([^" ]+)`).exec(log)
  return found?.[1] ?? assert.fail(log)
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

suite('what the daemon says of itself', { skip, timeout: 60_000 }, () => {
  test('plugins that are not built or not wanted are skipped, with the reason', async () => {
    await using daemon = await startDaemon()
    await using connection = await connectGrpc(daemon.address)
    const introspection = connection.client(Introspection)
    const { plugins } = await introspection.plugins({})
    for (const [type, id, reason] of [
      ['io.containerd.grpc.v1', 'unimplemented', undefined],
      ['io.containerd.server.v1', 'grpc', ''],
      ['io.containerd.server.v1', 'metrics', 'no address for metrics is configured: skip plugin'],
      ['io.containerd.warning.v1', 'deprecations', ''],
    ] as const) {
      const found = plugins.find((plugin) => plugin.type === type && plugin.id === id)
      assert.equal(found && (found.initErr?.message ?? ''), reason, `${type}.${id}`)
    }
    const server = await introspection.server({})
    assert.equal(server.pid, BigInt(daemon.process.pid ?? 0))
    assert.equal(server.pidns, (await stat('/proc/self/ns/pid', { bigint: true })).ino)
    const old = server.deprecations.some(({ id }) => id === 'io.containerd.deprecation/cgroup-v1')
    assert.equal(old, cgroupMode() !== 'unified')
  })
})
