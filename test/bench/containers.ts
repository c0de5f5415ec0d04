import type { Subject } from './row.ts'

/** Containers that do nothing; disposal ends and removes them. */
export interface IdleContainers extends AsyncDisposable {
  /** Starts one more. @returns the pid of its process. */
  start(): Promise<number>
}

/** No containers yet. */
export function idleContainers({ ctr, image }: Subject): IdleContainers {
  const ids: string[] = []
  return {
    start: async () => {
      const id = `idle-${ids.length}`
      await ctr('run', '--detach', image, id, 'sleep', '100000')
      ids.push(id)
      const tasks = await ctr('task', 'ls')
      return pidIn(tasks, id)
    },
    [Symbol.asyncDispose]: async () => {
      if (ids.length === 0) return
      for (const id of ids) await ctr('task', 'rm', '--force', id)
      await ctr('container', 'rm', ...ids)
    },
  }
}

function pidIn(tasks: string, id: string): number {
  const pid = tasks.match(new RegExp(`^${id}\\s+(\\d+)\\s`, 'm'))?.[1]
  if (pid === undefined) throw new Error(`no task ${id} in:\n${tasks}`)
  return Number(pid)
}
