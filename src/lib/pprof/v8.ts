import type { HeapProfiler, Profiler, Runtime } from 'node:inspector'
import { fileURLToPath } from 'node:url'

import type { Frame, Profile, StackSample } from './profile.ts'

/** How V8 calls the top of every stack, and the time in which the thread slept. */
const rootName = '(root)'
const idleName = '(idle)'

/**
 * A CPU profile of V8 as pprof knows them: `samples` in `count` and `cpu` in `nanoseconds`. Time in
 * which the thread waited is left out.
 */
export function fromCpuProfile(taken: Profiler.Profile, beganMs: number): Profile {
  const stacks = stacksOf(taken.nodes)
  const spent = spentByNode(taken)
  const samples: StackSample[] = []
  for (const [id, { count, nanoseconds }] of spent) {
    const frames = stacks.get(id) ?? []
    const [leaf] = frames
    if (leaf && leaf.name !== idleName) samples.push({ frames, values: [count, nanoseconds] })
  }
  const took = taken.endTime - taken.startTime
  const periods = Math.max(1, taken.samples?.length ?? 1)
  return {
    sampleTypes: [
      { type: 'samples', unit: 'count' },
      { type: 'cpu', unit: 'nanoseconds' },
    ],
    samples,
    timeMs: beganMs,
    durationMs: took / 1000,
    periodType: { type: 'cpu', unit: 'nanoseconds' },
    period: Math.round((took * 1000) / periods),
  }
}

/** Each sample stands for the time until the next one; the last for what is left. */
function spentByNode({ samples = [], timeDeltas = [], startTime, endTime }: Profiler.Profile) {
  const spent = new Map<number, { count: number; nanoseconds: number }>()
  let at = startTime
  for (const [i, id] of samples.entries()) {
    at += timeDeltas[i] ?? 0
    const until = i + 1 < samples.length ? (timeDeltas[i + 1] ?? 0) : Math.max(0, endTime - at)
    const node = spent.getOrInsertComputed(id, () => ({ count: 0, nanoseconds: 0 }))
    node.count++
    // V8 notes samples of one moment out of order, by microseconds.
    node.nanoseconds += Math.max(0, until) * 1000
  }
  return spent
}

function stacksOf(nodes: readonly Profiler.ProfileNode[]): ReadonlyMap<number, readonly Frame[]> {
  const byId = new Map(nodes.map((node) => [node.id, node]))
  const stacks = new Map<number, readonly Frame[]>()
  const waiting = nodes.filter(({ callFrame }) => callFrame.functionName === rootName)
  for (const root of waiting) stacks.set(root.id, [])
  for (let node = waiting.pop(); node; node = waiting.pop()) {
    for (const id of node.children ?? []) {
      const child = byId.get(id)
      if (!child) continue
      stacks.set(id, [toFrame(child.callFrame), ...(stacks.get(node.id) ?? [])])
      waiting.push(child)
    }
  }
  return stacks
}

/**
 * A sampled heap of V8 as pprof knows them: `inuse_space` in `bytes`, by the stack that allocated
 * what is still alive.
 */
export function fromHeapProfile(
  taken: HeapProfiler.SamplingHeapProfile,
  takenMs: number,
  period: number,
): Profile {
  const samples: StackSample[] = []
  const waiting: { node: HeapProfiler.SamplingHeapProfileNode; above: readonly Frame[] }[] = [
    { node: taken.head, above: [] },
  ]
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    const { node, above } = next
    const isRoot = node.callFrame.functionName === rootName
    const frames = isRoot ? above : [toFrame(node.callFrame), ...above]
    if (node.selfSize > 0) samples.push({ frames, values: [node.selfSize] })
    for (const child of node.children) waiting.push({ node: child, above: frames })
  }
  return {
    sampleTypes: [{ type: 'inuse_space', unit: 'bytes' }],
    samples,
    timeMs: takenMs,
    durationMs: 0,
    periodType: { type: 'space', unit: 'bytes' },
    period,
  }
}

function toFrame({ functionName, url, lineNumber }: Runtime.CallFrame): Frame {
  return {
    name: functionName === '' ? '(anonymous)' : functionName,
    file: url.startsWith('file://') ? fileURLToPath(url) : url,
    startLine: lineNumber + 1,
  }
}
