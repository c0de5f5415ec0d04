import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'

import type { Context } from '#core/context.ts'
import type { Descriptor } from '#core/images/images.ts'
import type { Metadata } from '#core/metadata/metadata.ts'
import { Downloads } from '#core/transfer/pull/downloads.ts'
import { pullImage } from '#core/transfer/pull/pull.ts'
import type { ImageTarget, Progress } from '#core/transfer/transfer.ts'
import type { ImageVerifier } from '#core/verification/verification.ts'

import { openClient } from './hostile-registry.ts'
import { ImageRegistry } from './image-registry.ts'
import { withMetadata } from './metadata.ts'

/** Metadata to pull into, and a registry to pull from. */
export interface Given {
  readonly ctx: Context
  readonly metadata: Metadata
  readonly registry: ImageRegistry
  readonly events: Progress[]
  /** Pulls `reference` under its own name. */
  readonly pull: (reference: string, into?: Partial<ImageTarget>, ctx?: Context) => Promise<void>
  /** What is in the content store. */
  readonly has: (target: Descriptor, ctx?: Context) => Promise<boolean>
}

export interface GivenOptions {
  readonly verifiers?: ReadonlyMap<string, ImageVerifier>
  readonly policy?: 'shared' | 'isolated'
  readonly partBytes?: number
}

/** A test of pulls, after which no lease is left. */
export function checkPull(
  title: string,
  body: (given: Given) => Promise<void>,
  { verifiers = new Map(), policy = 'shared', partBytes = 0 }: GivenOptions = {},
): void {
  void test(title, { timeout: 60_000 }, async (t: TestContext) => {
    await using registry = await ImageRegistry.open()
    await using remotes = openClient()
    const run = async (ctx: Context, metadata: Metadata): Promise<void> => {
      const { content } = metadata
      const downloads = new Downloads({ content, atOnce: 3, partBytes })
      const stores = { ...metadata, content, unpackPlace: () => undefined }
      const events: Progress[] = []
      await body({
        ctx,
        metadata,
        registry,
        events,
        async pull(reference, into = {}, own = ctx) {
          const parts = { stores, verifiers, downloads }
          const onProgress = (progress: Progress): void => void events.push(progress)
          const end = { reference, remotes }
          await pullImage(own, parts, end, { name: reference, ...into }, { onProgress })
        },
        has: async ({ digest }, own = ctx) =>
          await content.info(own, digest).then(
            () => true,
            () => false,
          ),
      })
      assert.deepEqual(await metadata.leases.list(ctx), [])
    }
    await withMetadata(
      t,
      async ({ ctx, metadata }) => await run(ctx, metadata),
      () => ({ policy }),
    )
  })
}
