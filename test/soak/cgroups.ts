import { existsSync, readdirSync, readFileSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'

const root = '/sys/fs/cgroup'

/** The groups of the containers of a namespace, in every hierarchy. */
export const cgroupsOf = (namespace: string): string[] =>
  parentsOf(namespace).flatMap((parent) => directories(parent).map((name) => join(parent, name)))

/** Pids, with a space between them; none when the group is gone. */
export function processesIn(cgroup: string): string {
  try {
    return readFileSync(join(cgroup, 'cgroup.procs'), 'utf8').trim().replaceAll('\n', ' ')
  } catch {
    return ''
  }
}

/** Removes the groups of a namespace that is not used any more, and those its containers left. */
export function removeCgroups(namespace: string): void {
  for (const path of [...cgroupsOf(namespace), ...parentsOf(namespace)]) {
    try {
      rmdirSync(path)
    } catch {
      // Whoever is in there has been told of before.
    }
  }
}

const parentsOf = (namespace: string): string[] =>
  ['', ...directories(root)]
    .map((controller) => join(root, controller, namespace))
    .filter((path) => existsSync(path))

function directories(path: string): string[] {
  try {
    const found = readdirSync(path, { withFileTypes: true })
    return found.filter((entry) => entry.isDirectory()).map(({ name }) => name)
  } catch {
    return []
  }
}
