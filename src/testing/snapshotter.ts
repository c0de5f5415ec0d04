import type { Snapshotter } from '#core/snapshots/snapshotter.ts'

/** `snapshotter`, with some methods replaced: for failures that a real one cannot be brought to. */
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
