import { join } from 'node:path'

import type { Context } from '#core/context.ts'
import { openDatabase } from '#lib/bolt/open.ts'
import type { OpenOptions } from '#lib/bolt/database.ts'

import { MetaStore } from './meta-store.ts'

/** How long another process may take to close the database, in ms. */
const lockTimeoutMs = 1000

/** The records of the snapshotter in `root`. `lock` keeps other processes from them. */
export async function openStore(
  ctx: Context,
  root: string,
  lock: NonNullable<OpenOptions['lock']>,
): Promise<MetaStore> {
  const { signal } = ctx
  return new MetaStore(
    await openDatabase(join(root, 'metadata.db'), { signal, lock, lockTimeoutMs, keepRoom: true }),
  )
}
