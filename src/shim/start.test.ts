import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, readdirSync, rmdirSync, statSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import { type TestContext, suite, test } from 'node:test'

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'

import { BootstrapParamsSchema, BootstrapResultSchema } from '#gen/shim/bootstrap_pb.ts'
import { RuntimeInfoSchema } from '#gen/types/introspection_pb.ts'
import { OptionsSchema } from '#gen/types/runc-options_pb.ts'
import { cgroupMounts } from '#sys/cgroup.ts'
import { isErrno } from '#sys/errno.ts'
import { prctl } from '#sys/process.ts'
import { root } from '#testing/root.ts'

import { ShimFixture } from './test-host.ts'

const check = (title: string, body: (shim: ShimFixture) => Promise<void>): void => {
  test(title, { timeout: 60_000 }, async (t: TestContext) => {
    if (!root(t)) return
    await using shim = await ShimFixture.open()
    await body(shim)
  })
}

/** Whether a control group is gone, which it cannot be before its processes are. */
function removed(path: string): boolean {
  try {
    rmdirSync(path)
    return true
  } catch (err) {
    return isErrno(err, 'ENOENT')
  }
}

suite('the start command', () => {
  check(
    'cores are shared with nobody, if that is asked for, or it is said why not',
    async (shim) => {
      const bundle = await shim.bundle('a', ['true'])
      const { code, stderr } = await shim.shim(bundle, 'start', { env: { SCHED_CORE: '1' } })
      const has = coreCookies()
      assert.equal(code, has ? 0 : 1, stderr)
      if (!has)
        assert.match(stderr, /^enable core scheduling, which SCHED_CORE asks for: E[A-Z]+: /)
    },
  )

  check('daemons of each generation get the reply they read', async (shim) => {
    const bundle = await shim.bundle('a', ['true'])
    const plain = await shim.shim(bundle, 'start')
    const address = plain.stdout.toString()
    const tasks = await shim.connectTo(address)
    assert.match(address, /^unix:\/\/[^\s]+$/)
    assert.equal(readFileSync(join(bundle.path, 'address'), 'utf8'), address)

    const options = create(AnySchema, { typeUrl: 'containerd.runc.v1.Options', value: Buffer.of() })
    const input = toBinary(AnySchema, options)
    const json = await shim.shim(bundle, 'start', { env: { MAX_SHIM_VERSION: '2' }, input })
    assert.deepEqual(JSON.parse(json.stdout.toString()), { version: 2, address, protocol: 'ttrpc' })

    const params = create(BootstrapParamsSchema, {
      instanceId: 'a',
      namespace: shim.namespace,
      containerdGrpcAddress: join(shim.dir, 'grpc.sock'),
      containerdTtrpcAddress: join(shim.dir, 'events.sock'),
      socketDir: join(shim.dir, 's'),
    })
    const bytes = await shim.shim(bundle, 'start', {
      env: { MAX_SHIM_VERSION: '2', WHARF_SHIM_SOCKET_DIR: '/nowhere' },
      input: toBinary(BootstrapParamsSchema, params),
    })
    const result = fromBinary(BootstrapResultSchema, bytes.stdout)
    assert.deepEqual(
      [result.version, result.address, result.protocol],
      [3, address, 'ttrpc'],
      bytes.stderr,
    )
    assert.ok((await tasks.connect({ id: '' })).shimPid > 0)
  })

  check('many starts at once make one host, whose socket is private', async (shim) => {
    const ids = Array.from({ length: 8 }, (_, i) => `c${i}`)
    const bundles = await Promise.all(ids.map(async (id) => await shim.bundle(id, ['true'])))
    const started = await Promise.all(
      bundles.map(async (bundle) => await shim.shim(bundle, 'start')),
    )
    const addresses = new Set(started.map(({ stdout, stderr }) => stdout.toString() || stderr))
    assert.equal(addresses.size, 1, [...addresses].join('\n'))
    const [address = ''] = addresses
    await shim.connectTo(address)
    const socket = address.replace('unix://', '')
    assert.equal(statSync(socket).mode & 0o777, 0o600)
    assert.equal(statSync(join(shim.dir, 's')).mode & 0o777, 0o700)
    // Those that came too late have said so, and may still be ending.
    await shim.until(() => shim.hosts().length === 1)
  })

  check('a socket that nobody serves any more is replaced', async (shim) => {
    const bundle = await shim.bundle('a', ['true'])
    const first = await shim.connect(bundle)
    const { shimPid } = await first.connect({ id: '' })
    process.kill(shimPid, 'SIGKILL')
    await shim.until(() => shim.hosts().length === 0)
    assert.equal(readdirSync(join(shim.dir, 's')).length, 1)
    const bundles = [bundle, await shim.bundle('b', ['true']), await shim.bundle('c', ['true'])]
    const started = await Promise.all(bundles.map(async (each) => await shim.shim(each, 'start')))
    const addresses = new Set(started.map(({ stdout, stderr }) => stdout.toString() || stderr))
    assert.equal(addresses.size, 1, [...addresses].join('\n'))
    await shim.connectTo([...addresses][0] ?? '')
    // Those that came too late have said so, and may still be ending.
    await shim.until(() => shim.hosts().length === 1)
  })

  check('isolation decides who shares a host', async (shim) => {
    const annotations = { 'io.kubernetes.cri.sandbox-id': 'pod' }
    const bundles = [
      await shim.bundle('a', ['true'], { annotations }),
      await shim.bundle('b', ['true'], { annotations }),
      await shim.bundle('c', ['true']),
    ]
    const hostsWith = async (isolation: string): Promise<number> => {
      const env = { WHARF_SHIM_ISOLATION: isolation, WHARF_SHIM_IDLE_MS: '3000' }
      const started = await Promise.all(
        bundles.map(async (each) => await shim.shim(each, 'start', { env })),
      )
      return new Set(started.map(({ stdout }) => stdout.toString())).size
    }
    assert.equal(await hostsWith('namespace'), 1)
    assert.equal(await hostsWith('sandbox'), 2)
    assert.equal(await hostsWith('container'), 3)
    await shim.until(() => shim.hosts().length === 0)
    const [bundle] = bundles
    assert.ok(bundle)
    const env = { WHARF_SHIM_ISOLATION: 'planet' }
    const refused = await shim.shim(bundle, 'start', { env })
    assert.equal(refused.code, 1)
    assert.match(
      refused.stderr,
      /^shim isolation "planet" is none of namespace, sandbox, container/,
    )
  })

  check(
    'the host runs in the control group that is asked for, and others in another',
    async (shim) => {
      const group = `/${shim.namespace}-shims`
      // Without the cpusets of version 1, which take nobody before they are filled in.
      const mounts = cgroupMounts().filter(({ superOptions }) => !superOptions.includes('cpuset'))
      const paths = mounts.map(({ mountPoint }) => join(mountPoint, group))
      const input = toBinary(
        AnySchema,
        create(AnySchema, {
          typeUrl: OptionsSchema.typeName,
          value: toBinary(OptionsSchema, create(OptionsSchema, { shimCgroup: group })),
        }),
      )
      const bundle = await shim.bundle('a', ['true'])
      const refused = await shim.shim(bundle, 'start', { input })
      assert.equal(refused.code, 1)
      assert.match(refused.stderr, /^ENOENT: .*, join cgroup '\/.*-shims'/)
      for (const path of paths) mkdirSync(path)
      try {
        const inside = (await shim.shim(bundle, 'start', { input })).stdout.toString()
        const outside = (await shim.shim(bundle, 'start')).stdout.toString()
        assert.notEqual(inside, outside)
        const groupsOf = async (address: string): Promise<boolean[]> => {
          const { shimPid } = await (await shim.connectTo(address)).connect({ id: '' })
          return paths.map((path) =>
            readFileSync(join(path, 'cgroup.procs'), 'utf8').split('\n').includes(`${shimPid}`),
          )
        }
        assert.deepEqual(new Set(await groupsOf(inside)), new Set([true]))
        assert.deepEqual(new Set(await groupsOf(outside)), new Set([false]))
      } finally {
        for (const pid of shim.hosts()) process.kill(pid, 'SIGKILL')
        await shim.until(() => shim.hosts().length === 0)
        // The kernel needs a moment after the last process.
        await shim.until(() => paths.every((path) => removed(path)))
      }
    },
  )

  check('the host goes before the daemon when memory runs out', async (shim) => {
    const tasks = await shim.connect(await shim.bundle('a', ['true']))
    const { shimPid } = await tasks.connect({ id: '' })
    const scoreOf = (pid: number | 'self'): number =>
      Number(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8'))
    assert.equal(scoreOf(shimPid), Math.min(scoreOf('self') + 1, 1000))
  })

  check('why a host cannot start is told on stderr', async (shim) => {
    const bundle = await shim.bundle('a', ['true'])
    const long = join(shim.dir, 'x'.repeat(60))
    const result = await shim.shim(bundle, 'start', { env: { WHARF_SHIM_SOCKET_DIR: long } })
    assert.equal(result.code, 1)
    assert.match(result.stderr, /^shim socket path ".*" is longer than 106 characters/)
    await writeFile(join(shim.dir, 'file'), '')
    const env = { WHARF_SHIM_SOCKET_DIR: join(shim.dir, 'file') }
    assert.match((await shim.shim(bundle, 'start', { env })).stderr, /ENOTDIR|EEXIST/)
  })

  check('a server that is not a host is not taken away its socket', async (shim) => {
    const bundle = await shim.bundle('a', ['true'])
    const { stdout } = await shim.shim(bundle, 'start', { env: { WHARF_SHIM_IDLE_MS: '100' } })
    const socket = stdout.toString().replace('unix://', '')
    await shim.until(() => shim.hosts().length === 0)
    const server = createServer()
    server.listen(socket)
    await once(server, 'listening')
    try {
      assert.equal((await shim.shim(bundle, 'start')).stdout.toString(), `unix://${socket}`)
      assert.equal(shim.hosts().length, 0)
    } finally {
      server.close()
    }
  })

  check('the host has one heap for its threads, and tells nobody else to', async (shim) => {
    const [runtime, seen] = [join(shim.dir, 'runtime'), join(shim.dir, 'seen')]
    await writeFile(runtime, `#!/bin/sh\nenv > ${seen}\nexec runc "$@"\n`, { mode: 0o755 })
    const options = {
      typeUrl: OptionsSchema.typeName,
      value: toBinary(OptionsSchema, create(OptionsSchema, { binaryName: runtime })),
    }
    const bundle = await shim.bundle('a', ['true'])
    const tasks = await shim.connect(bundle)
    const [host = 0] = shim.hosts()
    assert.match(readFileSync(`/proc/${host}/environ`, 'utf8'), /(^|\0)MALLOC_ARENA_MAX=1\0/)
    await tasks.create({ ...bundle.request, options })
    assert.doesNotMatch(readFileSync(seen, 'utf8'), /MALLOC_ARENA_MAX/)
    await tasks.delete({ id: 'a' })
  })

  check('-v and -info say what this is', async (shim) => {
    const bundle = await shim.bundle('a', ['true'])
    const version = await shim.shim(bundle, '-v')
    assert.match(
      version.stdout.toString(),
      /^containerd-shim-wharf-v1:\n  Version:  \d+\.\d+\.\d+\n/,
    )
    const info = fromBinary(RuntimeInfoSchema, (await shim.shim(bundle, '-info')).stdout)
    assert.equal(info.name, 'io.containerd.wharf.v1')
    const unknown = await shim.shim(bundle, 'dance')
    assert.deepEqual(
      [unknown.code, unknown.stderr],
      [1, 'shim command "dance" is none of start, delete\n'],
    )
  })
})

/** Whether this kernel, on these cores, can keep others off them; this thread gets a cookie by that. */
function coreCookies(): boolean {
  const [PR_SCHED_CORE, PR_SCHED_CORE_CREATE] = [62, 1] as const
  try {
    prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE)
    return true
  } catch {
    return false
  }
}
