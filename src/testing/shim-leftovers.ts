import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Where Go's shims have their sockets and the runtime's state, whatever the daemon's own state. */
const shared = { sockets: '/run/containerd/s', runc: '/run/containerd/runc' }

/** What killed shims of a daemon leave outside of its directories. */
export interface ShimLeftovers {
  readonly containers: readonly { readonly root: string; readonly id: string }[]
  readonly sockets: readonly string[]
  readonly roots: readonly string[]
}

/** Looks, while the bundles in the state directory of a daemon are still there. */
export function shimLeftovers(state: string): ShimLeftovers {
  const tasks = join(state, 'io.containerd.runtime.v2.task')
  const namespaces = directories(tasks)
  const bundles = namespaces.flatMap((namespace) =>
    directories(join(tasks, namespace)).map((id) => ({ namespace, id })),
  )
  const roots = [shared.runc, join(state, 'runc')]
  return {
    containers: bundles.flatMap(({ namespace, id }) =>
      roots.map((root) => ({ root: join(root, namespace), id })),
    ),
    sockets: bundles.flatMap(({ namespace, id }) => socketOf(join(tasks, namespace, id))),
    roots: namespaces.map((namespace) => join(shared.runc, namespace)),
  }
}

/** Removes it, once the shims have ended. A directory that others use, too, stays. */
export async function removeShimLeftovers(left: ShimLeftovers): Promise<void> {
  for (const { root, id } of left.containers) {
    if (existsSync(join(root, id))) await run('runc', ['--root', root, 'delete', '--force', id])
  }
  for (const socket of left.sockets) rmSync(socket, { force: true })
  for (const root of left.roots) removeIfEmpty(root)
}

function socketOf(bundle: string): string[] {
  const text = ['bootstrap.json', 'address'].map((name) => read(join(bundle, name))).join('\n')
  return text.match(new RegExp(`${shared.sockets}/[0-9a-f]{64}`, 'g')) ?? []
}

function read(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : ''
}

function directories(path: string): string[] {
  if (!existsSync(path)) return []
  const found = readdirSync(path, { withFileTypes: true })
  return found
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
    .map(({ name }) => name)
}

function removeIfEmpty(path: string): void {
  try {
    rmdirSync(path)
  } catch {
    // Never made, or somebody else's containers are there.
  }
}
