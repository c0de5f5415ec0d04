import type { ShimTask } from './task.ts'

/** Tasks by namespace and id. */
export class TaskMap {
  readonly #tasks = new Map<string, Map<string, ShimTask>>()

  get(namespace: string, id: string): ShimTask | undefined {
    return this.#tasks.get(namespace)?.get(id)
  }

  has(task: ShimTask): boolean {
    return this.get(task.namespace, task.id) === task
  }

  /** All of a namespace, or of every one. */
  list(namespace?: string): ShimTask[] {
    if (namespace !== undefined) return [...(this.#tasks.get(namespace)?.values() ?? [])]
    return [...this.#tasks.values()].flatMap((tasks) => [...tasks.values()])
  }

  add(task: ShimTask): void {
    const { namespace, id } = task
    this.#tasks.getOrInsertComputed(namespace, () => new Map()).set(id, task)
  }

  /** Whether it was there: of several who remove a task one is told so. */
  remove(task: ShimTask): boolean {
    if (!this.has(task)) return false
    return this.#tasks.get(task.namespace)?.delete(task.id) ?? false
  }
}
