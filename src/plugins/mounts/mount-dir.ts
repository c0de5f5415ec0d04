import { readdirSync, readFileSync, rmdirSync, unlinkSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import type { Context } from '#core/context.ts'
import type { ActiveMount } from '#core/mount/manager.ts'
import type { Mount } from '#core/mount/mount.ts'
import { failedPrecondition } from '#lib/errors/errors.ts'
import { isErrno } from '#sys/errno.ts'
import { whenDetached } from '#sys/loop-users.ts'
import { mountAll, unmountAll } from '#sys/mount.ts'

import type { Handlers } from './plan.ts'

/*
 * Where the mounts of one activation are:
 *
 *   t/<id>/             0700
 *     <n>               a directory, or what the handler puts there; the last mount has the lowest n
 *     <n>-type          its type, which says whose handler undoes it; written first
 *
 * Whatever a killed daemon has left here can be undone from it alone. Source: upstream
 * `core/mount/manager/manager.go`.
 */

/** How often a mount that is in use is tried, in ms. */
const retryMs = 50

/** The names of `count` mounts, in order: numbers that count down, as wide as the first. */
export function pointNames(count: number): readonly string[] {
  const width = count > 100 ? 3 : count > 10 ? 2 : 1
  return Array.from({ length: count }, (_, at) => String(count - at).padStart(width, '0'))
}

export interface MakeOptions {
  readonly handlers: Handlers
  /** The mounts that came earlier in the list. */
  readonly before: readonly ActiveMount[]
  /** How long a file that is in use is waited for, in ms. */
  readonly busyMs: number
}

const writesToFile = ({ options }: Mount): boolean =>
  options.includes('loop') && !options.includes('ro')

/** Makes a mount in `dir`. @throws what its handler or the kernel says. */
export async function makeMount(
  ctx: Context,
  spec: { readonly mount: Mount; readonly dir: string; readonly name: string },
  { handlers, before, busyMs }: MakeOptions,
): Promise<ActiveMount> {
  const { mount, dir, name } = spec
  const point = join(dir, name)
  await writeFile(`${point}-type`, mount.type, { mode: 0o600 })
  try {
    const handler = handlers.get(mount.type)
    if (handler) return await handler.mount(ctx, mount, point, before)
    await mkdir(point, { mode: 0o700 })
    if (writesToFile(mount)) await whenDetached(mount.source, { signal: ctx.signal, ms: busyMs })
    mountAll([mount], point)
    return { ...mount, mountedAt: new Date(), mountPoint: point }
  } catch (err) {
    ctx.signal.throwIfAborted()
    throw new Error(`mount ${mount.source} of type ${mount.type} failed`, { cause: err })
  }
}

/**
 * Undoes every mount in `dir`, the last one first, and removes `dir`, if it is there. Those that are in
 * use are waited for, `busyMs` in all.
 *
 * @throws `failed_precondition` when one stays in use; it and those before it are left.
 */
export async function clearMounts(
  ctx: Context,
  dir: string,
  { handlers, busyMs }: { readonly handlers: Handlers; readonly busyMs: number },
): Promise<void> {
  const names = entries(dir)
  if (!names) return
  const points = new Set(names.flatMap((name) => /^\d+/.exec(name)?.[0] ?? []))
  const giveUp = performance.now() + busyMs
  for (const name of [...points].toSorted((a, b) => Number(a) - Number(b))) {
    const point = join(dir, name)
    const handler = handlers.get(typeOf(point))
    await whenFree(point, giveUp, async () => {
      if (handler) await handler.unmount(ctx, point)
      else unmountAll(point, { noFollow: true })
      removePoint(point)
    })
    for (const each of names) if (each.startsWith(`${name}-`)) unlinkSync(join(dir, each))
  }
  rmdirSync(dir)
}

async function whenFree(point: string, giveUp: number, undo: () => Promise<void>): Promise<void> {
  for (;;) {
    try {
      return await undo()
    } catch (err) {
      if (!isErrno(err, 'EBUSY')) throw new Error(`cannot unmount ${point}`, { cause: err })
      if (performance.now() > giveUp) throw failedPrecondition(`${point} is in use`, { cause: err })
    }
    await sleep(retryMs)
  }
}

/** Never removes what is inside: something may still be mounted there. */
function removePoint(point: string): void {
  try {
    rmdirSync(point)
  } catch (err) {
    if (!isErrno(err, 'ENOENT')) throw err
  }
}

function typeOf(point: string): string {
  try {
    return readFileSync(`${point}-type`, 'utf8')
  } catch (err) {
    if (!isErrno(err, 'ENOENT')) throw err
    return ''
  }
}

function entries(dir: string): readonly string[] | undefined {
  try {
    return readdirSync(dir)
  } catch (err) {
    if (!isErrno(err, 'ENOENT')) throw err
    return undefined
  }
}
