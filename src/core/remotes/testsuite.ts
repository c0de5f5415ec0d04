import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, suite, test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import { mediaTypes } from '#core/images/oci.ts'
import { digestOf } from '#lib/digest/digest.ts'
import { newContext } from '#testing/context.ts'
import { rejectsWith } from '#testing/rejects.ts'

import type { Body, Fetcher, Pusher, Remotes } from './remotes.ts'

/** What `bytes` are. */
const describe = (
  bytes: Uint8Array,
  mediaType = 'application/vnd.oci.image.layer.v1.tar',
): Descriptor => ({ mediaType, digest: digestOf(bytes), size: bytes.length })

async function readAll(body: Body): Promise<Buffer> {
  await using open = body
  return Buffer.concat(await Array.fromAsync(open))
}

/** A config, a layer and a manifest, pushed under the pusher's tag. */
async function pushImage(ctx: Context, pusher: Pusher, layer: Uint8Array): Promise<Descriptor> {
  const config = Buffer.from('{"architecture":"amd64","os":"linux"}')
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: describe(config, mediaTypes.ociConfig),
      layers: [describe(layer)],
    }),
  )
  const target = describe(manifest, mediaTypes.ociManifest)
  await pusher.push(ctx, describe(config), () => [config])
  await pusher.push(ctx, describe(layer), (offset) => [layer.subarray(offset)])
  await pusher.push(ctx, target, () => [manifest])
  return target
}

/** An empty registry, and what is tried with it. */
export interface OpenedRemotes extends AsyncDisposable {
  readonly remotes: Remotes
  /** The name of the registry. */
  readonly host: string
}

/**
 * What every implementation of `Remotes` does, whatever its registry asks of those who come.
 *
 * @param lacks why it cannot be tried here.
 */
export function remotesSuite(
  name: string,
  lacks: string | undefined,
  start: () => Promise<OpenedRemotes>,
): void {
  suite(name, { skip: lacks ?? false }, () => {
    let opened: OpenedRemotes
    before(async () => {
      opened = await start()
    })
    after(async () => await opened[Symbol.asyncDispose]())
    const open = async (
      ctx: Context,
      path: string,
    ): Promise<{ full: string; fetcher: Fetcher; pusher: Pusher }> => {
      const full = `${opened.host}/${path}`
      return {
        full,
        fetcher: await opened.remotes.fetcher(ctx, full),
        pusher: await opened.remotes.pusher(ctx, full),
      }
    }

    test('what is pushed is resolved and fetched', async (t) => {
      const ctx = newContext(t)
      const { full, fetcher, pusher } = await open(ctx, 'team/app:1')
      const layer = randomBytes(300_000)
      const target = await pushImage(ctx, pusher, layer)
      const resolved = await opened.remotes.resolve(ctx, full)
      assert.deepEqual(resolved, { name: full, target, host: opened.host })
      const manifest = await readAll(await fetcher.fetch(ctx, target))
      assert.equal(digestOf(manifest), target.digest)
      assert.deepEqual(await readAll(await fetcher.fetch(ctx, describe(layer))), layer)
      const byDigest = await opened.remotes.resolve(ctx, `${opened.host}/team/app@${target.digest}`)
      assert.deepEqual(byDigest.target, target)
    })

    test('ranges of a blob are fetched', async (t) => {
      const ctx = newContext(t)
      const { fetcher, pusher } = await open(ctx, 'team/ranges:1')
      const layer = randomBytes(100_000)
      await pusher.push(ctx, describe(layer), () => [layer])
      const parts = await Promise.all(
        [0, 25_000, 50_000, 75_000].map(
          async (offset) =>
            await readAll(await fetcher.fetch(ctx, describe(layer), { offset, length: 25_000 })),
        ),
      )
      assert.deepEqual(Buffer.concat(parts), layer)
      const tail = await fetcher.fetch(ctx, describe(layer), { offset: 99_000 })
      assert.equal(tail.size, 1000)
      assert.deepEqual(await readAll(tail), layer.subarray(99_000))
      await rejectsWith('out_of_range', fetcher.fetch(ctx, describe(layer), { offset: 200_000 }))
    })

    test('what is there is not sent again', async (t) => {
      const ctx = newContext(t)
      const { pusher } = await open(ctx, 'team/twice:1')
      const layer = randomBytes(1000)
      assert.equal((await pusher.push(ctx, describe(layer), () => [layer])).outcome, 'pushed')
      const again = await pusher.push(ctx, describe(layer), () => assert.fail('was read'))
      assert.equal(again.outcome, 'exists')
    })

    test('a blob is mounted from another repository', async (t) => {
      const ctx = newContext(t)
      const layer = randomBytes(1000)
      const first = await open(ctx, 'team/from:1')
      await first.pusher.push(ctx, describe(layer), () => [layer])
      const second = await open(ctx, 'team/to:1')
      const result = await second.pusher.push(ctx, describe(layer), () => assert.fail('was read'), {
        mountFrom: ['team/from'],
      })
      assert.deepEqual(result, { outcome: 'mounted', from: 'team/from' })
      assert.deepEqual(await readAll(await second.fetcher.fetch(ctx, describe(layer))), layer)
      const other = randomBytes(1000)
      const sent = await second.pusher.push(ctx, describe(other), () => [other], {
        mountFrom: ['team/from'],
      })
      assert.equal(sent.outcome, 'pushed')
    })

    test('a blob is sent in pieces', async (t) => {
      const ctx = newContext(t)
      const { fetcher, pusher } = await open(ctx, 'team/pieces:1')
      const layer = randomBytes(250_000)
      const progress: number[] = []
      await pusher.push(ctx, describe(layer), (offset) => [layer.subarray(offset)], {
        chunkSize: 100_000,
        onProgress: (sent) => progress.push(sent),
      })
      assert.deepEqual(progress, [100_000, 200_000, 250_000])
      assert.deepEqual(await readAll(await fetcher.fetch(ctx, describe(layer))), layer)
    })

    test('content that is not what it is said to be is refused', async (t) => {
      const ctx = newContext(t)
      const { pusher } = await open(ctx, 'team/wrong:1')
      const layer = randomBytes(1000)
      const short = describe(layer)
      await rejectsWith(
        'failed_precondition',
        pusher.push(ctx, short, () => [layer.subarray(1)]),
      )
      const other = { ...short, digest: digestOf('other') }
      await rejectsWith(
        'data_loss',
        pusher.push(ctx, other, () => [layer]),
        /DIGEST_INVALID/,
      )
    })

    test('an unknown repository, tag and blob are told apart', async (t) => {
      const ctx = newContext(t)
      const { full, fetcher, pusher } = await open(ctx, 'team/known:latest')
      await pushImage(ctx, pusher, randomBytes(10))
      const typo = full.replace('latest', 'lates')
      await rejectsWith(
        'not_found',
        opened.remotes.resolve(ctx, typo),
        /no tag "lates".*did you mean "latest"/,
      )
      const misspelled = full.replace('known', 'knwon')
      await rejectsWith(
        'not_found',
        opened.remotes.resolve(ctx, misspelled),
        /no repository "team\/knwon"/,
      )
      await rejectsWith(
        'not_found',
        fetcher.fetch(ctx, describe(randomBytes(9))),
        /does not have it/,
      )
    })

    test('referrers are listed by the tag that stands in for the API', async (t) => {
      const ctx = newContext(t)
      const { pusher, fetcher } = await open(ctx, 'team/signed:1')
      const target = await pushImage(ctx, pusher, randomBytes(10))
      assert.deepEqual(await fetcher.referrers(ctx, target.digest), [])
      const signature = { ...target, artifactType: 'application/x-signature' }
      const index = Buffer.from(
        JSON.stringify({
          schemaVersion: 2,
          mediaType: mediaTypes.ociIndex,
          manifests: [signature],
        }),
      )
      const tag = await open(ctx, `team/signed:${target.digest.replace(':', '-')}`)
      await tag.pusher.push(ctx, describe(index, mediaTypes.ociIndex), () => [index])
      assert.deepEqual(await fetcher.referrers(ctx, target.digest), [signature])
      const none = await fetcher.referrers(ctx, target.digest, { artifactTypes: ['application/x'] })
      assert.deepEqual(none, [])
    })
  })
}
