import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { after, before, suite, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import type { Client } from '#client/client.ts'
import { connect } from '#client/connect.ts'
import { Containers } from '#gen/services/containers_pb.ts'
import { Content } from '#gen/services/content_pb.ts'
import { Images } from '#gen/services/images_pb.ts'
import { Namespaces } from '#gen/services/namespaces_pb.ts'
import { Snapshots } from '#gen/services/snapshots_pb.ts'
import { type ErrorCode, codeOf, describe } from '#lib/errors/errors.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { everyContainerd } from '#testing/containerd.ts'
import { run, startDaemon, type TestDaemon } from '#testing/daemon.ts'
import { busyboxImage, imageBytes } from '#testing/image.ts'

/*
 * What a caller gets wrong, and what it is told: containerd's code, and a sentence. Where a real
 * containerd is installed, it is asked the same and must answer the same.
 */

const wharfd = fileURLToPath(new URL('../../bin/wharfd.mjs', import.meta.url))
const image = 'docker.io/library/busybox:latest'
const inNamespace = { metadata: { 'containerd-namespace': 'testing' } }
const missingDigest = `sha256:${'0'.repeat(64)}`
const spec = {
  typeUrl: 'types.containerd.io/opencontainers/runtime-spec/1/Spec',
  value: new Uint8Array([123, 125]),
}
const container = { id: 'c1', runtime: { name: 'io.containerd.runc.v2' }, spec }

interface Mistake {
  readonly what: string
  readonly code: ErrorCode
  readonly message: RegExp
  readonly call: (to: Connection) => Promise<unknown>
}

const mistakes: readonly Mistake[] = [
  {
    what: 'no namespace',
    code: 'failed_precondition',
    message: /namespace is required/,
    call: (to) => to.client(Images).list({}),
  },
  {
    what: 'a bad namespace',
    code: 'invalid_argument',
    message: /identifier "a\/b" must match/,
    call: (to) => to.client(Namespaces).create({ namespace: { name: 'a/b' } }),
  },
  {
    what: 'an unknown image',
    code: 'not_found',
    message: /image "nope".*not found/,
    call: (to) => to.client(Images).get({ name: 'nope' }, inNamespace),
  },
  {
    what: 'an image without a target',
    code: 'invalid_argument',
    message: /digest|media/,
    call: (to) => to.client(Images).create({ image: { name: 'x', target: {} } }, inNamespace),
  },
  {
    what: 'a container id that is taken',
    code: 'already_exists',
    message: /container "c1".*already exists/,
    async call(to) {
      await to.client(Containers).create({ container }, inNamespace)
      return await to.client(Containers).create({ container }, inNamespace)
    },
  },
  {
    what: 'a container without a runtime',
    code: 'invalid_argument',
    message: /[Rr]untime/,
    call: (to) => to.client(Containers).create({ container: { id: 'c2', spec } }, inNamespace),
  },
  {
    what: 'a bad digest',
    code: 'invalid_argument',
    message: /"nonsense" failed validation/,
    call: (to) => to.client(Content).info({ digest: 'nonsense' }, inNamespace),
  },
  {
    what: 'an unknown digest',
    code: 'not_found',
    message: /content digest sha256:0+.*not found/,
    call: (to) => to.client(Content).info({ digest: missingDigest }, inNamespace),
  },
  {
    what: 'a label over 4096 bytes',
    code: 'invalid_argument',
    message: /label key and value.*4096/,
    call: (to) =>
      to
        .client(Namespaces)
        .create({ namespace: { name: 'n1', labels: { big: 'x'.repeat(5000) } } }),
  },
  {
    what: 'an unknown snapshotter',
    code: 'invalid_argument',
    message: /snapshotter not loaded: nope/,
    call: (to) => to.client(Snapshots).stat({ snapshotter: 'nope', key: 'x' }, inNamespace),
  },
  {
    what: 'an unknown parent',
    code: 'not_found',
    message: /parent snapshot .*not found|not found/,
    call: (to) =>
      to
        .client(Snapshots)
        .prepare({ snapshotter: 'overlayfs', key: 'x', parent: 'p' }, inNamespace),
  },
  {
    what: 'a broken filter',
    code: 'invalid_argument',
    message: /filter/,
    call: (to) => to.client(Images).list({ filters: ['name==='] }, inNamespace),
  },
]

const judges = [undefined, ...everyContainerd()]
const skip = process.getuid?.() === 0 ? false : 'needs root'

for (const judge of judges) {
  suite(`mistakes, answered by ${judge ? `containerd ${judge.version}` : 'wharfd'}`, {
    skip,
  }, () => {
    let daemon: TestDaemon
    let client: Client
    before(async () => {
      daemon = await startDaemon(judge ? { containerd: judge } : {})
      client = await connect(daemon.address)
    })
    after(async () => {
      await client?.[Symbol.asyncDispose]()
      await daemon?.[Symbol.asyncDispose]()
    })

    for (const { what, code, message, call } of mistakes) {
      test(what, async () => {
        await assert.rejects(call(client.connection), (err) => {
          assert.equal(codeOf(err), code, describe(err))
          assert.match(describe(err), message)
          return true
        })
      })
    }
  })
}

suite('mistakes in a container', { skip }, () => {
  let daemon: TestDaemon
  let client: Client
  before(async () => {
    daemon = await startDaemon()
    client = await connect(daemon.address)
    await client.images.import(Readable.from([await imageBytes(busyboxImage(image))]))
  })
  after(async () => {
    await client?.[Symbol.asyncDispose]()
    await daemon?.[Symbol.asyncDispose]()
  })

  test('a program that is not there is named, in the words of runc', async () => {
    await using c = await client.containers.create('m1', { image, args: ['no-such-program'] })
    await assert.rejects(
      c.run(),
      /runc create failed.*"no-such-program": executable file not found/,
    )
  })

  test('a runtime that is not installed is named', async () => {
    const runtime = 'io.containerd.nope.v1'
    await using c = await client.containers.create('m2', { image, args: ['true'], runtime })
    await assert.rejects(c.run(), /"io.containerd.nope.v1".*containerd-shim-nope-v1/)
  })

  test('after a failure the same container can be tried again', async () => {
    await using c = await client.containers.create('m3', { image, args: ['no-such-program'] })
    await assert.rejects(c.run())
    await assert.rejects(c.run(), /no-such-program/)
  })
})

suite('mistakes in starting the daemon', { skip }, () => {
  const start = async (dir: string, config: string, ...flags: string[]) => {
    const file = join(dir, 'config.toml')
    await writeFile(file, config)
    return await run(process.execPath, [wharfd, '--config', file, ...flags])
  }
  const directories = (dir: string): string[] => ['--root', `${dir}/r`, '--state', `${dir}/s`]

  test('a syntax error in the configuration is named with line and column', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'wharfd-'))
    const { code, stderr } = await start(dir.path, 'version = 2\nroot = = "/x"\n')
    assert.equal(code, 1)
    assert.match(stderr, /config\.toml", line 2, column 8: /)
  })

  test('a value of the wrong kind, and a missing file, are named', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'wharfd-'))
    const kind = await start(dir.path, 'version = 2\nroot = 7\n')
    assert.match(kind.stderr, /root must be a string, not a number/)
    const missing = await run(process.execPath, [wharfd, '--config', '/nonexistent.toml'])
    assert.equal(missing.code, 1)
    assert.match(missing.stderr, /config file "\/nonexistent.toml": not found/)
  })

  test('root and state are required and differ', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'wharfd-'))
    const say = async (text: string) => (await start(dir.path, `version = 2\n${text}`)).stderr
    assert.match(await say('root = ""'), /root must be specified/)
    assert.match(await say('state = ""'), /state must be specified/)
    assert.match(await say('root = "/x"\nstate = "/x"'), /root and state must be different paths/)
  })

  test('a key that does not exist is a warning that names the nearest', async () => {
    await using daemon = await startDaemon({ config: '[debug]\nlevle = "info"' })
    assert.match(await daemon.log(), /level=warning.*unknown key.*key=debug\.levle nearest=level/)
  })

  test('a socket that somebody serves on is not taken away', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'wharfd-'))
    const path = join(dir.path, 'taken.sock')
    await using server = createServer()
    server.listen(path)
    await once(server, 'listening')
    const { code, stderr } = await start(
      dir.path,
      'version = 2',
      ...directories(dir.path),
      '-a',
      path,
    )
    assert.equal(code, 1)
    assert.match(stderr, /taken\.sock" is in use by another process/)
  })

  test('a root that another daemon works on is refused at once', async () => {
    await using daemon = await startDaemon()
    await mkdir(join(daemon.dir, 'second'))
    const flags = [
      '--root',
      daemon.root,
      '--state',
      `${daemon.dir}/second/s`,
      '-a',
      `${daemon.dir}/b.sock`,
    ]
    const { code, stderr } = await start(join(daemon.dir, 'second'), 'version = 2', ...flags)
    assert.equal(code, 1)
    assert.match(stderr, /meta\.db" is locked by another process/)
  })

  test('words and flags that do not exist are refused', async () => {
    const word = await run(process.execPath, [wharfd, 'serve'])
    assert.deepEqual([word.code, /unknown command "serve"/.test(word.stderr)], [1, true])
    const flag = await run(process.execPath, [wharfd, '--nope'])
    assert.deepEqual([flag.code, /--nope/.test(flag.stderr)], [1, true])
  })
})
