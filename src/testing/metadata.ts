import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'

import type { Any } from '#core/any/any.ts'
import type { Store } from '#core/content/content.ts'
import type { Context } from '#core/context.ts'
import type { Metadata } from '#core/metadata/metadata.ts'
import { openMetadata } from '#core/metadata/open.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import { LocalStore } from '#plugins/content/local/local-store.ts'
import { eventEncoder } from '#plugins/metadata/events.ts'

import { newContext } from './context.ts'

/** Metadata on a real database and a real content store, with what it published. */
export interface TestMetadata extends AsyncDisposable {
  readonly metadata: Metadata
  readonly content: LocalStore
  readonly events: readonly Published[]
}

interface Published {
  readonly namespace: string | undefined
  readonly topic: string
  readonly event: Any
}

export interface TestMetadataOptions {
  readonly policy?: 'shared' | 'isolated'
  readonly snapshotters?: ReadonlyMap<string, Snapshotter>
  /** Puts something in front of the content store. */
  readonly wrapContent?: (store: Store) => Store
}

/** Opens the metadata in `root`, and makes it if there is none. */
export async function testMetadata(
  ctx: Context,
  root: string,
  options: TestMetadataOptions = {},
): Promise<TestMetadata> {
  const { policy = 'shared', snapshotters = new Map(), wrapContent = (store) => store } = options
  const content = LocalStore.open(ctx, join(root, 'content'))
  const database = await openDatabase(join(root, 'meta.db'))
  const events: Published[] = []
  const metadata = await openMetadata(ctx, {
    database,
    content: wrapContent(content),
    snapshotters,
    policy,
    events: eventEncoder,
    publisher: {
      publish: ({ namespace }, topic, event) => void events.push({ namespace, topic, event }),
    },
  })
  return {
    metadata,
    content,
    events,
    async [Symbol.asyncDispose]() {
      await metadata[Symbol.asyncDispose]()
      for (const snapshotter of snapshotters.values()) await snapshotter[Symbol.asyncDispose]()
    },
  }
}

/** What a test of metadata works with. */
interface Given extends TestMetadata {
  readonly ctx: Context
  readonly root: string
}

/** Runs `body` on new metadata in a directory of its own. */
export async function withMetadata(
  t: TestContext,
  body: (given: Given) => Promise<void>,
  options?: (ctx: Context, root: string) => Promise<TestMetadataOptions> | TestMetadataOptions,
): Promise<void> {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'metadata-'))
  const ctx = newContext(t)
  await using opened = await testMetadata(ctx, dir.path, await options?.(ctx, dir.path))
  await body({ ...opened, ctx, root: dir.path })
}
