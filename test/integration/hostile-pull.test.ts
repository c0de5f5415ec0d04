import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { after, before, suite, test } from 'node:test'
import { gzipSync } from 'node:zlib'

import type { Descriptor } from '#core/images/images.ts'
import { mediaTypes } from '#core/images/oci.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { codeOf, describe, type ErrorCode } from '#lib/errors/errors.ts'
import { encodeHeader } from '#lib/tar/writer.ts'
import { flood, type Handler, Hostile, offsetOf } from '#testing/hostile-registry.ts'
import { gzipLayer, ServedContent, type ServedLayer } from '#testing/served-image.ts'

import { pull, startTransferDaemon, type TransferDaemon } from './transfers.ts'

/*
 * A registry that means ill, and a daemon that pulls from it. Whatever it does, the pull ends with the right
 * image or with the right error, no name is left of an image that is none, and the daemon holds little more than
 * before.
 */

/** How much more the daemon may hold while it pulls, in bytes: with what is being read, hashed and unpacked. */
const mostGrowth = 200e6

/** So that a bomb is known for one before it fills the disk of who runs this. */
const limits = '[plugins."io.containerd.differ.v1.walking"]\nmax_expansion_ratio = 200'

const skip = process.getuid?.() === 0 ? false : 'needs root'

suite('a pull from a registry that means ill', { skip, timeout: 300_000 }, () => {
  let given: TransferDaemon
  const scope = new AsyncDisposableStack()
  before(async () => {
    given = scope.use(await startTransferDaemon({ config: limits }))
  })
  after(async () => await scope.disposeAsync())

  /** Pulls, from a registry that does as `handler`, an image that ends so; `works` when it must be there. */
  const check = (
    title: string,
    expected: 'works' | readonly ErrorCode[],
    open: () => Handler,
  ): void => {
    void test(title, { timeout: 120_000 }, async (t) => {
      await using registry = await Hostile.open(open())
      const reference = `${registry.host}/a/b:1`
      const pid = Number(given.daemon.process.pid)
      const held = await beginPeak(pid)
      const err = await pull(t, given, { reference, scheme: 'http' }).then(
        () => undefined,
        (reason: unknown) => reason,
      )
      const growth = (await bytesIn(pid, 'VmHWM')) - held
      assert.ok(growth < mostGrowth, `${title}: ${Math.round(growth / 1e6)} MB more`)
      await checkOutcome(given, reference, expected, err)
      t.diagnostic(
        `${Math.round(growth / 1e6)} MB more; ${err === undefined ? 'there' : describe(err)}`,
      )
    })
  }

  check('a manifest that is not what its digest says', ['data_loss', 'failed_precondition'], () => {
    const content = new ServedContent()
    const target = content.addImage([smallLayer()])
    const serve = content.serving(target)
    return (request, response, path) => {
      if (request.method === 'HEAD' || !path.includes('/manifests/')) {
        return serve(request, response, path)
      }
      return response.end('{"schemaVersion":2,"config":{},"layers":[]}'.padEnd(target.size))
    }
  })

  check('a layer that is not what its digest says', ['failed_precondition', 'data_loss'], () =>
    withLayer(smallLayer(), (layer) => (_request, response) => {
      response.end(randomBytes(layer.size))
    }),
  )

  check('a layer that breaks off at every turn and goes on', 'works', () => {
    const layer = gzipLayer({ random: randomBytes(500_000) })
    return withLayer(layer, () => (request, response) => {
      const offset = offsetOf(request)
      const part = layer.bytes.subarray(offset)
      response.writeHead(offset > 0 ? 206 : 200, {
        'content-length': part.length,
        ...(offset > 0 && {
          'content-range': `bytes ${offset}-${layer.bytes.length - 1}/${layer.bytes.length}`,
        }),
      })
      response.write(part.subarray(0, 150_000), () => response.destroy())
    })
  })

  check('a layer that ends too early', ['unavailable'], () =>
    withLayer(smallLayer(), (layer) => (_request, response) => {
      response.end(Buffer.alloc(layer.size - 1))
    }),
  )

  check('a layer without end', ['data_loss'], () =>
    withLayer(smallLayer(), () => (_request, response) => flood(response, randomBytes(65_536))),
  )

  check('a layer whose length is said to be another one', ['data_loss', 'unavailable'], () =>
    withLayer(smallLayer(), (layer) => (_request, response) => {
      response.writeHead(200, { 'content-length': layer.size * 1000 })
      flood(response, randomBytes(65_536))
    }),
  )

  check('a part of a layer that is another part', ['data_loss'], () => {
    const layer = gzipLayer({ random: randomBytes(100_000) })
    return withLayer(layer, () => (request, response) => {
      if (request.headers.range === undefined) {
        response.writeHead(200, { 'content-length': layer.bytes.length })
        return response.write(layer.bytes.subarray(0, 50_000), () => response.destroy())
      }
      response.writeHead(206, { 'content-range': `bytes 7-99/${layer.bytes.length}` })
      return response.end(layer.bytes.subarray(7, 100))
    })
  })

  check(
    'a layer that is smaller than its manifest says',
    ['unavailable', 'failed_precondition'],
    () => lying(smallLayer(), ({ size }) => size * 2),
  )
  check('a layer that is larger than its manifest says', ['data_loss', 'failed_precondition'], () =>
    lying(smallLayer(), ({ size }) => size - 1),
  )
  check('a layer of more bytes than there are', ['unavailable', 'failed_precondition'], () =>
    lying(smallLayer(), () => Number.MAX_SAFE_INTEGER),
  )
  check('a layer of a negative size', ['invalid_argument'], () => lying(smallLayer(), () => -1))

  check('a manifest of 500 MB', ['resource_exhausted'], () => (request, response) => {
    const headers = { 'content-type': mediaTypes.ociManifest }
    if (request.method === 'HEAD') return response.writeHead(200, headers).end()
    response.writeHead(200, headers)
    return flood(response, Buffer.alloc(65_536, ' '))
  })

  check('a config of 500 MB', ['resource_exhausted', 'unavailable', 'invalid_argument'], () => {
    const content = new ServedContent()
    const layer = content.add(gzipType, smallLayer().bytes)
    const config = {
      mediaType: mediaTypes.ociConfig,
      digest: digestOf('a large one'),
      size: 500_000_000,
    }
    const target = content.addJson(mediaTypes.ociManifest, { config, layers: [layer] })
    return except(content.serving(target), config.digest, (_request, response) => {
      response.writeHead(200, { 'content-length': config.size })
      flood(response, Buffer.alloc(65_536, ' '))
    })
  })

  check('a manifest of 10 000 layers', ['resource_exhausted', 'invalid_argument'], () => {
    const content = new ServedContent()
    const layers = Array.from({ length: 10_000 }, (_, i) => {
      const bytes = Buffer.from(`layer ${i}`)
      return { bytes, diffId: digestOf(bytes) }
    })
    return content.serving(content.addImage(layers))
  })

  for (const [times, expected] of [
    [100, 'works'],
    [1000, ['resource_exhausted']],
  ] as const) {
    check(`the same layer ${times} times`, expected, () => {
      const content = new ServedContent()
      const layer = smallLayer()
      return content.serving(content.addImage(Array.from({ length: times }, () => layer)))
    })
  }

  check('indexes in indexes without end', ['invalid_argument', 'resource_exhausted'], () => {
    const content = new ServedContent()
    let target = content.addImage([smallLayer()])
    for (let depth = 0; depth < 2000; depth++) {
      target = content.addJson(mediaTypes.ociIndex, { manifests: [target] })
    }
    return content.serving(target)
  })

  check(
    'an index that is said to hold itself',
    ['data_loss', 'failed_precondition', 'invalid_argument'],
    () => {
      const digest = digestOf('nobody knows its own digest')
      const entry = { mediaType: mediaTypes.ociIndex, digest, size: 0 }
      const bytes = (): Buffer =>
        Buffer.from(
          JSON.stringify({ schemaVersion: 2, mediaType: entry.mediaType, manifests: [entry] }),
        )
      entry.size = bytes().length
      entry.size = bytes().length
      return (request, response) => {
        response.writeHead(200, {
          'content-type': entry.mediaType,
          'content-length': bytes().length,
          'docker-content-digest': digest,
        })
        return response.end(request.method === 'HEAD' ? undefined : bytes())
      }
    },
  )

  check('a manifest that says it is an index', ['invalid_argument'], () => {
    const content = new ServedContent()
    const image = content.addImage([smallLayer()])
    const { config, layers } = content.manifestOf(image)
    const both = { mediaType: mediaTypes.ociIndex, config, layers, manifests: [image] }
    return content.serving(content.addJson(mediaTypes.ociManifest, both))
  })

  check('a layer that grows without end', ['resource_exhausted'], () => {
    const content = new ServedContent()
    return content.serving(content.addImage([gzipBomb()]))
  })

  check(
    'a layer that is no archive',
    ['invalid_argument', 'failed_precondition', 'data_loss', 'unknown'],
    () => {
      const content = new ServedContent()
      const bytes = gzipSync(randomBytes(100_000))
      return content.serving(content.addImage([{ bytes, diffId: digestOf('x') }]))
    },
  )

  check(
    'a layer that is another one than the config says',
    ['failed_precondition', 'invalid_argument'],
    () => {
      const content = new ServedContent()
      return content.serving(content.addImage([{ ...smallLayer(), diffId: digestOf('another') }]))
    },
  )

  check('redirects in a loop', ['unavailable'], () =>
    withLayer(smallLayer(), () => (request, response) => {
      response.writeHead(307, { location: request.url }).end()
    }),
  )

  check('a realm that is elsewhere', ['failed_precondition'], () => (_request, response) => {
    const challenge = 'Bearer realm="http://elsewhere.invalid/token",service="s"'
    response.writeHead(401, { 'www-authenticate': challenge }).end()
  })

  check(
    'a token of 100 MB',
    ['resource_exhausted', 'unauthenticated'],
    () => (request, response, path) => {
      if (!path.startsWith('/token')) {
        const challenge = `Bearer realm="http://${request.headers.host}/token",service="s"`
        return response.writeHead(401, { 'www-authenticate': challenge }).end()
      }
      response.write('{"token":"')
      return flood(response, Buffer.alloc(65_536, 'a'))
    },
  )

  check('a rate limit for a day', ['resource_exhausted'], () =>
    withLayer(smallLayer(), () => (_request, response) => {
      response.writeHead(429, { 'retry-after': '86400' }).end()
    }),
  )

  check('words without end', ['permission_denied'], () => (request, response) => {
    response.writeHead(403)
    if (request.method === 'HEAD') return response.end()
    return flood(response, Buffer.alloc(65_536, 'no '))
  })
})

const gzipType = 'application/vnd.oci.image.layer.v1.tar+gzip'

/** One that nobody has pulled before. */
const smallLayer = (): ServedLayer => gzipLayer({ file: randomBytes(5000) })

/** `serve`, but for what has `digest`. */
const except =
  (serve: Handler, digest: string, own: Handler): Handler =>
  (request, response, path) =>
    (path.includes(digest) ? own : serve)(request, response, path)

/** An image of one layer, which is sent as `own` says. */
function withLayer(layer: ServedLayer, own: (descriptor: Descriptor) => Handler): Handler {
  const content = new ServedContent()
  const target = content.addImage([layer])
  const descriptor = content.layerOf(target)
  return except(content.serving(target), descriptor.digest, own(descriptor))
}

/** An image of one layer, the size of which its manifest gets wrong. */
function lying(layer: ServedLayer, size: (descriptor: Descriptor) => number): Handler {
  const content = new ServedContent()
  const lie = (all: readonly Descriptor[]): object[] =>
    all.map((descriptor) => ({ ...descriptor, size: size(descriptor) }))
  return content.serving(content.addImage([layer], lie))
}

/** A layer with one file of 6.4 GB of zeros, in as little as gzip can: one piece of it many times. */
function gzipBomb(): ServedLayer {
  const [piece, times] = [1 << 26, 100]
  const header = encodeHeader({ type: 'file', name: 'zeros', mode: 0o644, size: piece * times })
  const zeros = gzipSync(Buffer.alloc(piece), { level: 9 })
  const members = Array.from({ length: times }, () => zeros)
  return { bytes: Buffer.concat([gzipSync(header), ...members]), diffId: digestOf('nobody knows') }
}

async function checkOutcome(
  { client }: TransferDaemon,
  reference: string,
  expected: 'works' | readonly ErrorCode[],
  err: unknown,
): Promise<void> {
  const names = (await client.images.list()).map(({ name }) => name)
  if (expected === 'works') {
    assert.equal(err, undefined, describe(err))
    assert.ok(names.includes(reference))
    return
  }
  assert.ok(err !== undefined, 'it worked')
  const code = codeOf(err)
  assert.ok(code !== undefined && expected.includes(code), `${code}: ${describe(err)}`)
  assert.ok(!names.includes(reference), 'the name is there')
}

/** Has the kernel begin anew with the most that `pid` held. @returns what it holds now, in bytes. */
async function beginPeak(pid: number): Promise<number> {
  await writeFile(`/proc/${pid}/clear_refs`, '5')
  return await bytesIn(pid, 'VmRSS')
}

async function bytesIn(pid: number, name: 'VmRSS' | 'VmHWM'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024
}
