import { type Context, withTimeout } from '#core/context.ts'
import type { ProcessState, Task, TaskManager } from '#core/runtime/runtime.ts'
import type { Tasks } from '#gen/services/tasks_pb.ts'
import { codeOf, hasCode } from '#lib/errors/errors.ts'
import { parseFilters } from '#lib/filters/filters.ts'
import type { ServiceImpl } from '#lib/rpc/rpc.ts'
import type { RpcContext } from '#plugins/types.ts'
import { processToProto } from '#proxy/convert/process.ts'
import { dateToProto } from '#proxy/convert/timestamp.ts'

/** How long a shim may take to say how its process is. Source: upstream timeout `.task.state`. */
const stateMs = 2000
/** How long a shim may take to read its cgroup. Source: upstream timeout `.metrics.shimstats`. */
const statsMs = 2000

/** Methods that only look. */
export const queryMethods = (tasks: TaskManager): ServiceImpl<typeof Tasks, RpcContext> => ({
  async get({ containerId, execId }, ctx) {
    const task = await tasks.get(ctx, containerId)
    return { process: processToProto(await stateOf(ctx, task, execId)) }
  },
  async list(_request, ctx) {
    const states = await Promise.all((await tasks.list(ctx)).map((task) => listed(ctx, task)))
    return { tasks: states.filter((state) => state !== undefined).map(processToProto) }
  },
  async listPids({ containerId }, ctx) {
    const task = await tasks.get(ctx, containerId)
    const processes = await task.pids(ctx)
    return { processes: processes.map(({ pid, info }) => ({ pid, info })) }
  },
  async metrics({ filters }, ctx) {
    const matches = parseFilters(filters)
    const chosen = (await tasks.list(ctx)).filter((task) =>
      matches(([field]) => (field === 'id' || field === 'namespace' ? task[field] : undefined)),
    )
    const metrics = await Promise.all(chosen.map((task) => measured(ctx, task)))
    return { metrics: metrics.filter((metric) => metric !== undefined) }
  },
})

/** A process whose shim answers nonsense is still there, in an unknown state. */
async function stateOf(ctx: Context, task: Task, execId = ''): Promise<ProcessState> {
  try {
    return await task.state(withTimeout(ctx, stateMs), execId)
  } catch (error) {
    const code = codeOf(error) ?? (isTimeout(error) ? 'deadline_exceeded' : undefined)
    const tell = code === 'not_found' || code === 'unavailable' || code === 'deadline_exceeded'
    if (tell || ctx.signal.aborted) throw error
    ctx.log.error('get state failed', { id: task.id, execId, error })
    return unknownState(task, execId)
  }
}

/** A task that goes away while it is listed, or whose shim hangs, is left out of the list. */
async function listed(ctx: Context, task: Task): Promise<ProcessState | undefined> {
  try {
    return await stateOf(ctx, task)
  } catch (error) {
    ctx.signal.throwIfAborted()
    if (!hasCode(error, 'not_found')) {
      ctx.log.error('converting task to protobuf', { id: task.id, error })
    }
    return undefined
  }
}

async function measured(ctx: Context, task: Task) {
  const collected = new Date()
  try {
    const data = await task.stats(withTimeout(ctx, statsMs))
    return { timestamp: dateToProto(collected), id: task.id, data }
  } catch (error) {
    ctx.signal.throwIfAborted()
    if (!hasCode(error, 'not_found')) {
      ctx.log.error('collecting metrics failed', { id: task.id, error })
    }
    return undefined
  }
}

const isTimeout = (err: unknown): boolean => err instanceof Error && err.name === 'TimeoutError'

const unknownState = (task: Task, execId: string): ProcessState => ({
  containerId: task.id,
  execId,
  bundle: '',
  pid: 0,
  status: 'unknown',
  stdin: '',
  stdout: '',
  stderr: '',
  terminal: false,
  exitStatus: 0,
})
