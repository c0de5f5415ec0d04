import type { Store } from '#core/content/content.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'

/*
 * Real things with some methods replaced: for failures and moments that they cannot be brought to.
 */

export const overriding = (
  snapshotter: Snapshotter,
  overrides: Partial<Snapshotter>,
): Snapshotter => ({
  stat: async (...args) => await snapshotter.stat(...args),
  update: async (...args) => await snapshotter.update(...args),
  usage: async (...args) => await snapshotter.usage(...args),
  mounts: async (...args) => await snapshotter.mounts(...args),
  prepare: async (...args) => await snapshotter.prepare(...args),
  view: async (...args) => await snapshotter.view(...args),
  commit: async (...args) => await snapshotter.commit(...args),
  remove: async (...args) => await snapshotter.remove(...args),
  list: (...args) => snapshotter.list(...args),
  cleanup: async (...args) => await snapshotter.cleanup(...args),
  [Symbol.asyncDispose]: async () => await snapshotter[Symbol.asyncDispose](),
  ...overrides,
})

export const overridingStore = (store: Store, overrides: Partial<Store>): Store => ({
  info: async (...args) => await store.info(...args),
  update: async (...args) => await store.update(...args),
  list: (...args) => store.list(...args),
  delete: async (...args) => await store.delete(...args),
  reader: async (...args) => await store.reader(...args),
  writer: async (...args) => await store.writer(...args),
  status: async (...args) => await store.status(...args),
  listStatuses: async (...args) => await store.listStatuses(...args),
  abort: async (...args) => await store.abort(...args),
  [Symbol.asyncDispose]: async () => await store[Symbol.asyncDispose](),
  ...overrides,
})
