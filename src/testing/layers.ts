import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import type { Context } from '#core/context.ts'
import type { Mount } from '#core/mount/mount.ts'
import type { SnapshotOptions, Snapshotter } from '#core/snapshots/snapshotter.ts'
import { mountAll, unmountRecursive } from '#sys/mount.ts'

/** Mounts a snapshot for as long as `look` takes. */
export async function mounted(
  mounts: readonly Mount[],
  look: (dir: string) => void | Promise<void>,
): Promise<void> {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'mounted-'))
  using undo = new DisposableStack()
  undo.defer(() => unmountRecursive(dir.path))
  mountAll(mounts, dir.path)
  await look(dir.path)
}

/** A layer to be made. */
export interface Layer extends SnapshotOptions {
  readonly name: string
  /** What it is prepared on. */
  readonly on?: string
}

/** Commits a snapshot of what `change` does. */
export async function layer(
  ctx: Context,
  sn: Snapshotter,
  { name, on = '', ...options }: Layer,
  change: (dir: string) => void | Promise<void> = () => {},
): Promise<void> {
  await mounted(await sn.prepare(ctx, `work-${name}`, on), change)
  await sn.commit(ctx, name, `work-${name}`, options)
}

/** Writes files, each with a text. */
export function write(dir: string, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) fs.writeFileSync(join(dir, name), text)
}

/** The files of a directory, each with its text; other things with none. */
export const read = (dir: string): Record<string, string> =>
  Object.fromEntries(
    fs
      .readdirSync(dir, { withFileTypes: true })
      .filter(({ name, parentPath }) => name !== 'lost+found' || parentPath !== dir)
      .map((entry) => [
        entry.name,
        entry.isFile() ? fs.readFileSync(join(dir, entry.name), 'utf8') : '',
      ]),
  )
