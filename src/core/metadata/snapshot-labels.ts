import type { Labels } from '#core/labels/labels.ts'

/** Asks the backend for a committed snapshot it may already have, instead of a new one. */
export const refLabel = 'containerd.io/snapshot.ref'
const inheritedPrefix = 'containerd.io/snapshot/'

/** The labels that a backend gets to see. Source: upstream `core/snapshots/snapshotter.go`. */
export const inherited = (labels: Labels): Labels =>
  Object.fromEntries(
    Object.entries(labels).filter(([key]) => key === refLabel || key.startsWith(inheritedPrefix)),
  )
