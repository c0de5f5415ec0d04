import type { Container, ContainerStore } from '#core/containers/containers.ts'
import { type Context, forCleanup } from '#core/context.ts'
import { parseObject, record } from '#core/images/oci.ts'
import { restartLabels } from '#core/restart/restart.ts'
import type { Stdio, TaskManager } from '#core/runtime/runtime.ts'
import type { Snapshotter } from '#core/snapshots/snapshotter.ts'
import { failedPrecondition, hasCode, notFound } from '#lib/errors/errors.ts'

/** What the monitor acts through: the services that clients use. */
export interface RestartParts {
  readonly containers: ContainerStore
  readonly tasks: TaskManager
  readonly snapshots: ReadonlyMap<string, Snapshotter>
}

const sigkill = 9

/**
 * Ends what there is of the task and starts another one, whose output goes where the labels say. The
 * container gets `count` first.
 *
 * Source: upstream `plugins/restart/change.go`.
 * @throws what any of the steps says; a task that could not be started is gone again.
 */
export async function startAgain(
  ctx: Context,
  parts: RestartParts,
  container: Container,
  count: number,
): Promise<void> {
  const { id, spec, runtime, sandbox } = container
  if (!spec) throw failedPrecondition(`container ${id} has no spec`)
  const stdio = stdioOf(container)
  const labels = { ...container.labels, [restartLabels.count]: String(count) }
  await parts.containers.update(ctx, { ...container, labels }, [`labels.${restartLabels.count}`])
  await endTask(ctx, parts, id)
  const task = await parts.tasks.create(ctx, id, {
    ...stdio,
    spec,
    rootfs: await rootfsOf(ctx, parts, container),
    runtime: runtime.name,
    runtimeOptions: runtime.options,
    checkpoint: '',
    sandbox,
  })
  try {
    await task.start(ctx)
  } catch (err) {
    await endTask(forCleanup(ctx), parts, id)
    throw err
  }
}

/** Kills every process of the task, and deletes it. There may be none. */
export async function endTask(ctx: Context, parts: RestartParts, id: string): Promise<void> {
  try {
    const task = await parts.tasks.get(ctx, id)
    const ended = task.wait(ctx)
    ended.catch(() => {})
    try {
      await task.kill(ctx, { signal: sigkill, all: true })
      await ended
    } catch (err) {
      // It has ended already, or was never started: then it can be deleted as it is.
      ctx.signal.throwIfAborted()
      ctx.log.debug('cannot kill the task of a container', { id, error: err })
    }
    await parts.tasks.delete(ctx, id)
  } catch (err) {
    if (!hasCode(err, 'not_found')) throw err
  }
}

async function rootfsOf(
  ctx: Context,
  { snapshots }: RestartParts,
  { snapshotter, snapshotKey }: Container,
) {
  if (snapshotKey === '') return []
  const found = snapshots.get(snapshotter)
  if (!found) throw notFound(`snapshotter ${snapshotter}`)
  return await found.mounts(ctx, snapshotKey)
}

/** @throws `invalid_argument` for a log URI that is none. */
function stdioOf({ id, labels, spec }: Container): Stdio {
  const terminal = record(spec && parseObject(spec.value, 'spec')['process'])['terminal'] === true
  const uri = labels[restartLabels.logUri] ?? ''
  if (uri !== '' && !URL.canParse(uri)) {
    throw failedPrecondition(`container ${id}: ${restartLabels.logUri} is no URI: ${uri}`)
  }
  return { stdin: '', stdout: uri, stderr: terminal ? '' : uri, terminal }
}
