import assert from 'node:assert/strict'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'

import type { Client } from '#client/client.ts'
import { connect } from '#client/connect.ts'
import type { TransferPart, TransferProgress } from '#client/transfer/progress.ts'
import { readBlob } from '#core/content/read-blob.ts'
import { parseIndex, parseManifest } from '#core/images/oci.ts'
import { RegistryClient } from '#core/remotes/client.ts'
import { hostPlatformName, parsePlatform } from '#core/platforms/platforms.ts'
import { packageRoot } from '#lib/release/release.ts'
import { newContext } from '#testing/context.ts'
import { type Ran, type TestDaemon, run, startDaemon } from '#testing/daemon.ts'
import { DockerRegistry, lacksRegistry } from '#testing/docker-registry.ts'
import { busyboxImage, writeImage } from '#testing/image.ts'
import { pushManyPlatforms } from '#testing/many-platforms.ts'
import { rejectsWith } from '#testing/rejects.ts'

/*
 * Images between registries and a daemon, as the client and the command line move them.
 */

const secret = 's3cret-pass'
const skip = process.getuid?.() === 0 ? lacksRegistry : 'needs root'

suite('images are moved by the daemon', { skip: skip ?? false }, () => {
  let registry: DockerRegistry
  let daemon: TestDaemon
  let client: Client
  let name = ''
  let many = ''

  before(async () => {
    registry = await DockerRegistry.open({ password: true })
    daemon = await startDaemon()
    client = await connect(daemon.address)
    name = `${registry.host}/library/bb:1`
    many = `${registry.host}/library/many:1`
    await writeImage(busyboxImage(name), join(daemon.dir, 'image.tar'))
    const ctx = newContext({ signal: new AbortController().signal })
    await using remotes = new RegistryClient({ scheme: 'http', credentials })
    const platforms = ['linux/amd64', 'linux/arm64'].map(parsePlatform)
    await pushManyPlatforms(ctx, remotes, many, platforms)
    const auth = Buffer.from(`user:${secret}`).toString('base64')
    const config = { auths: { [registry.host]: { auth } } }
    await writeFile(join(daemon.dir, 'config.json'), JSON.stringify(config))
  })
  after(async () => {
    await client?.[Symbol.asyncDispose]()
    await daemon?.[Symbol.asyncDispose]()
    await registry?.[Symbol.asyncDispose]()
  })

  const credentials = () => ({ kind: 'password', username: 'user', secret }) as const

  /** Runs `wharf`, as somebody who has logged in or not. */
  async function wharf(args: readonly string[], login = false, input?: Buffer): Promise<Ran> {
    const env = {
      ...process.env,
      CONTAINERD_ADDRESS: daemon.address,
      DOCKER_CONFIG: login ? daemon.dir : join(daemon.dir, 'nothing'),
    }
    const program = join(packageRoot, 'bin/wharf.mjs')
    const ran = await run(process.execPath, [program, ...args], { env, ...(input && { input }) })
    assert.doesNotMatch(ran.stdout + ran.stderr, new RegExp(secret))
    return ran
  }

  const parsed = (line = ''): ReturnType<typeof JSON.parse> => JSON.parse(line)

  const check = (title: string, body: () => Promise<void>): void => {
    void test(title, { timeout: 120_000 }, body)
  }

  check('the client pushes and pulls, and hears how far it is', async () => {
    await client.images.import(join(daemon.dir, 'image.tar'))
    const options = { credentials, plainHttp: true }
    const told: TransferProgress[] = []
    const onProgress = (progress: TransferProgress): void => void told.push(progress)
    await client.images.push(name, { ...options, onProgress })
    assert.ok((told.at(-1)?.total ?? 0) > 1_000_000)
    assert.equal(told.at(-1)?.moved, told.at(-1)?.total)

    await client.images.delete(name, { synchronous: true })
    told.length = 0
    const image = await client.images.pull(name, { ...options, onProgress })
    const last = told.at(-1)
    assert.ok(last && last.total > 1_000_000)
    assert.deepEqual([last.moved, last.present], [last.total, 0])
    const layers = last.parts.filter(({ isLayer }) => isLayer)
    assert.deepEqual(
      layers.map(({ unpacked, total }) => unpacked === total),
      [true],
    )
    for (const [at, { moved }] of told.entries()) assert.ok(moved >= (told[at - 1]?.moved ?? 0))
    assert.equal((await client.snapshots().stat(await image.chainId())).kind, 'committed')
    const { contentBytes, snapshots, missing } = await image.usage()
    assert.deepEqual([contentBytes, snapshots, missing], [last.total, 1, 0])

    told.length = 0
    await client.images.pull(name, { ...options, onProgress })
    const again = told.at(-1)
    assert.deepEqual([again?.moved, again?.present], [again?.total, again?.total])
  })

  check('the client is told why a registry refuses', async () => {
    const plain = { plainHttp: true }
    const wrong = () => ({ kind: 'password', username: 'user', secret: 'wrong-pass' }) as const
    await rejectsWith('unauthenticated', client.images.pull(name, plain))
    const refused = client.images.pull(name, { ...plain, credentials: wrong })
    await rejectsWith('unauthenticated', refused)
    await assert.rejects(refused, (err: Error) => !err.message.includes('wrong-pass'))
    const missing = client.images.pull(`${name}-missing`, { ...plain, credentials })
    await rejectsWith('not_found', missing)
    const foreign = { ...plain, credentials, platforms: ['linux/s390x'] }
    await rejectsWith('not_found', client.images.pull(many, foreign), /nothing for linux\/s390x/)
    await client.images.delete(many, { synchronous: true })
    await rejectsWith('not_found', client.images.push('r.test/none:1', { ...plain, credentials }))
  })

  check('a pull that is given up ends, and can be done again', async () => {
    const leaving = new AbortController()
    const options = { credentials, plainHttp: true, platforms: ['linux/arm64'], unpack: false }
    const pulling = client.images.pull(many, {
      ...options,
      signal: leaving.signal,
      onProgress: () => leaving.abort(),
    })
    await rejectsWith('canceled', pulling)
    await rejectsWith('not_found', client.images.get(many))
    const { target } = await client.images.pull(many, options)
    assert.equal((await client.images.get(many)).target.digest, target.digest)
    await client.images.delete(many, { synchronous: true })
  })

  check('wharf pulls, lists, tags, pushes and removes', async () => {
    const plain = ['--plain-http', '-u', `user:${secret}`]
    const pulled = await wharf(['pull', ...plain, '--all-platforms', many])
    assert.deepEqual([pulled.code, pulled.stderr], [0, ''])
    assert.match(pulled.stdout, new RegExp(`^${many} sha256:[0-9a-f]{64}\n$`))

    const listed = await wharf(['image', 'ls'])
    assert.match(listed.stdout, /^NAME +DIGEST +SIZE +UNPACKED\n/)
    assert.match(listed.stdout, new RegExp(`^${many} +sha256:[0-9a-f]{12} +`, 'm'))
    assert.match((await wharf(['image', 'ls', '-q', `name==${many}`])).stdout, /^[^\n]+many:1\n$/)

    const copy = `${registry.host}/other/copy:2`
    assert.equal((await wharf(['image', 'tag', many, copy])).stdout, `${copy}\n`)
    const taken = await wharf(['image', 'tag', many, copy])
    assert.equal(taken.code, 1)
    assert.match(taken.stderr, /--force/)
    assert.equal((await wharf(['image', 'tag', '--force', many, copy])).code, 0)

    const sent = await wharf(['push', ...plain, copy])
    assert.deepEqual([sent.code, sent.stderr], [0, ''])
    const removed = await wharf(['image', 'rm', '--sync', many, 'nothing', copy])
    assert.deepEqual([removed.code, removed.stdout], [1, `${many}\n${copy}\n`])
    assert.match(removed.stderr, /^wharf: image "nothing" .*not found\n$/)
    assert.equal((await wharf(['pull', ...plain, copy])).code, 0)
    assert.equal((await wharf(['image', 'rm', '--sync', copy])).code, 0)
  })

  check('who has logged in with docker need not say so again', async () => {
    const strangers = await wharf(['pull', '--plain-http', many])
    assert.equal(strangers.code, 1)
    assert.match(strangers.stderr, /^wharf: [^\n]+\n$/)
    const { code, stdout, stderr } = await wharf(['pull', '--plain-http', '--json', many], true)
    assert.deepEqual([code, stderr], [0, ''])
    const lines = stdout.trimEnd().split('\n')
    assert.equal(parsed(lines.at(-1)).image.name, many)
    const { moved, total } = parsed(lines.at(-2)).progress
    assert.ok(total !== 0 && moved === total, `${moved} of ${total}`)

    const { usage } = parsed((await wharf(['image', 'usage', '--json', many])).stdout)
    assert.equal(usage.snapshots, 2)
    assert.ok(usage.missing > 0, 'the layers of another platform are here')
  })

  check('wharf converts what it has, and says what it lacks', async () => {
    const here = hostPlatformName
    assert.equal((await wharf(['pull', '--plain-http', '--platform', here, many], true)).code, 0)
    const layersOf = async (as: string): Promise<readonly string[]> => {
      const ctx = client.context()
      const { target } = await client.images.get(as)
      const [entry] = parseIndex(await readBlob(ctx, client.content, target.digest, 1 << 20))
      assert.ok(entry)
      const bytes = await readBlob(ctx, client.content, entry.digest, 1 << 20)
      return parseManifest(bytes).layers.map(({ mediaType }) => mediaType.split('.').at(-1) ?? '')
    }
    for (const [flag, type] of [
      ['--zstd', 'tar+zstd'],
      ['--uncompressed', 'tar'],
    ] as const) {
      const as = `r.test/converted/many:${type.replace('+', '-')}`
      const { code, stdout, stderr } = await wharf(['image', 'convert', flag, many, as])
      assert.deepEqual([code, stderr], [0, ''])
      assert.match(stdout, new RegExp(`^${RegExp.escape(as)} sha256:[0-9a-f]{64}\n$`))
      assert.deepEqual(await layersOf(as), [type, type])
      const [first, second] = [await client.images.get(as), await client.images.get(many)]
      assert.equal(await first.chainId(), await second.chainId())
    }

    const [all, none] = [['--all-platforms'], ['--platform', 'linux/s390x']]
    for (const [flags, why] of [
      [all, /^wharf: convert image .*sha256:[0-9a-f]{64}: not found; .*pull the others first\n$/],
      [none, /has no image for the platforms that are wanted, only for linux\/a/],
    ] as const) {
      const { code, stdout, stderr } = await wharf([
        'image',
        'convert',
        ...flags,
        '--zstd',
        many,
        'x',
      ])
      assert.deepEqual([code, stdout], [1, ''])
      assert.match(stderr, why)
    }
    const both = await wharf(['image', 'convert', '--zstd', '--gzip', many, 'x'])
    assert.equal(both.code, 2)

    const told = await wharf(['image', 'convert', '--json', '--uncompressed', many, many])
    const lines = told.stdout.trimEnd().split('\n')
    assert.equal(parsed(lines.at(-1)).image.name, many)
    const { moved, total, parts } = parsed(lines.at(-2)).progress
    assert.ok(total > 0 && moved === total, `${moved} of ${total}`)
    assert.deepEqual([parts.length, parts[0].event], [2, 'complete'])
    await client.images.delete(many, { synchronous: true })
  })

  check('an archive becomes images from the command line, and images an archive', async () => {
    const file = join(daemon.dir, 'image.tar')
    const copy = join(daemon.dir, 'copy.tar')
    const { code, stdout } = await wharf(['image', 'import', '--json', file])
    assert.equal(code, 0)
    const lines = stdout.trimEnd().split('\n')
    assert.equal(parsed(lines.at(-1)).image.name, name)
    const { size } = await stat(file)
    const { moved, total, parts } = parsed(lines.at(-2)).progress
    assert.deepEqual([moved, total], [size, size])
    const events = parts.map((part: TransferPart) => `${part.name.split('-')[0]} ${part.event}`)
    assert.ok(events.includes('archive complete'), events.join())
    const piped = await wharf(['image', 'import', '--no-unpack', '-'], false, await readFile(file))
    assert.deepEqual([piped.code, piped.stderr], [0, ''])

    const saved = await wharf(['image', 'export', '--json', copy, name])
    const said = saved.stdout.trimEnd().split('\n').map(parsed)
    const written = (await stat(copy)).size
    assert.deepEqual(said.at(-1), { file: copy, size: written, images: [name] })
    const { progress } = said.at(-2)
    assert.deepEqual([progress.moved, progress.total], [written, written])
    await client.images.import(copy, { unpack: false })

    const told: TransferProgress[] = []
    const onProgress = (state: TransferProgress): void => void told.push(state)
    await Array.fromAsync(client.images.export(name, { onProgress }), ({ length }) => length)
    const first = told.find(({ total: known }) => known > 0)
    assert.deepEqual([first?.total, told.at(-1)?.moved], [written, written])
    assert.ok((first?.moved ?? written) < written, 'the whole is known before all has come')
  })

  check('nobody tells a secret', async () => {
    const told = await daemon.log()
    const encoded = Buffer.from(`user:${secret}`).toString('base64')
    assert.doesNotMatch(told, new RegExp(`${secret}|wrong-pass|${encoded}`))
    const { labels } = await client.images.get(name)
    assert.doesNotMatch(JSON.stringify(labels), new RegExp(secret))
  })
})
