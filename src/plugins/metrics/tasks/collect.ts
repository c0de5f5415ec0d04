import type { Any } from '#core/any/any.ts'
import type { ContainerStore } from '#core/containers/containers.ts'
import { type Context, withNamespace, withTimeout } from '#core/context.ts'
import type { Task, TaskManager } from '#core/runtime/runtime.ts'
import { MetricsSchema as V1Schema } from '#gen/cgroups/v1_pb.ts'
import { MetricsSchema as V2Schema } from '#gen/cgroups/v2_pb.ts'
import { describe, hasCode } from '#lib/errors/errors.ts'
import type { Family, Labels, Sample } from '#lib/metrics/metrics.ts'
import { holds, unpack } from '#proxy/convert/pack.ts'

import type { Measure } from './measure.ts'
import { v1Measures } from './v1.ts'
import { v2Measures } from './v2.ts'

/** Where tasks, and what they are made of, are looked up. */
export interface TaskMetricsParts {
  /** Of every namespace. */
  readonly tasks: Pick<TaskManager, 'list'>
  readonly containers: Pick<ContainerStore, 'get'>
  /** How long a shim may take, in ms, as the configuration has it now. */
  readonly timeoutMs: () => number
}

/** A family while it is put together. */
interface Growing extends Family {
  readonly found: Sample[]
}

/**
 * What the cgroups of all tasks count now, by upstream's names. Shims are asked at the same time; one
 * that does not answer in time is left out, and has gone for whoever looks at the numbers.
 */
export async function collectTasks(ctx: Context, parts: TaskMetricsParts): Promise<Family[]> {
  const families = new Map<string, Growing>()
  const bounded = withTimeout(ctx, parts.timeoutMs())
  const tasks = await listed(bounded, parts)
  const measured = await Promise.all(tasks.map((task) => statsOf(bounded, parts, task)))
  for (const each of measured) {
    if (!each) continue
    const { stats, labels } = each
    if (holds(stats, V1Schema)) add(families, v1Measures, unpack(V1Schema, stats), labels)
    else if (holds(stats, V2Schema)) add(families, v2Measures, unpack(V2Schema, stats), labels)
  }
  return [...families.values()]
}

async function listed(ctx: Context, { tasks }: TaskMetricsParts): Promise<readonly Task[]> {
  try {
    return await tasks.list(ctx)
  } catch (err) {
    ctx.log.warn('cannot list tasks for their metrics', { error: describe(err) })
    return []
  }
}

async function statsOf(
  ctx: Context,
  { containers }: TaskMetricsParts,
  task: Task,
): Promise<{ readonly stats: Any; readonly labels: Labels } | undefined> {
  const { id, namespace } = task
  const inside = withNamespace(ctx, namespace)
  try {
    const { runtime } = await containers.get(inside, id)
    const stats = await task.stats(inside)
    return { stats, labels: { container_id: id, namespace, runtime: runtime.name } }
  } catch (err) {
    // It has ended, or been deleted, meanwhile.
    if (!hasCode(err, 'not_found')) {
      ctx.log.debug('cannot measure a task', { id, namespace, error: describe(err) })
    }
    return undefined
  }
}

function add<T>(
  families: Map<string, Growing>,
  measures: readonly Measure<T>[],
  stats: T,
  labels: Labels,
): void {
  for (const measure of measures) {
    for (const [value, own] of measure.read(stats)) {
      const family = families.getOrInsertComputed(measure.name, () => growing(measure))
      family.found.push({ value: Number(value), labels: { ...labels, ...own } })
    }
  }
}

function growing({ name, help, type = 'gauge' }: Omit<Measure<never>, 'read'>): Growing {
  const found: Sample[] = []
  return { name: `container_${name}`, help, type, found, samples: () => found }
}
