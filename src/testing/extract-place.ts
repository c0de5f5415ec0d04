import assert from 'node:assert/strict'
import {
  lstatSync,
  mkdirSync,
  mkdtempDisposableSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'

import { applyLayer } from '#plugins/diff/walking/apply-layer.ts'
import type { ExtractTarget } from '#plugins/diff/walking/extractor.ts'

import { archive, type Part } from './layer-archive.ts'
import { root } from './root.ts'

/** Unpacks an archive of `parts` into `target`. */
export async function apply(
  target: ExtractTarget | string,
  ...parts: readonly Part[]
): Promise<void> {
  await applyLayer([archive(...parts)], typeof target === 'string' ? { path: target } : target, {
    compressed: false,
    check() {},
  })
}

/** Where to unpack to, and what must stay as it is. */
export interface Place extends Disposable {
  readonly root: string
  /** Beside the root, with `secret` in it: nothing may touch it. */
  readonly outside: string
}

function place(): Place {
  using stack = new DisposableStack()
  const { path } = stack.use(mkdtempDisposableSync(join(tmpdir(), 'wharf-extract-')))
  const [inside, outside] = [join(path, 'root'), join(path, 'outside')]
  mkdirSync(inside)
  mkdirSync(outside)
  writeFileSync(join(outside, 'secret'), 'secret')
  const owned = stack.move()
  return { root: inside, outside, [Symbol.dispose]: () => owned.dispose() }
}

/** Files below `path` with their content, links with their target, directories with a slash. */
export function treeOf(path: string, prefix = ''): Readonly<Record<string, string>> {
  const found: Record<string, string> = {}
  for (const name of readdirSync(path).toSorted()) {
    const full = join(path, name)
    const stat = lstatSync(full)
    const shown = prefix + name
    if (stat.isDirectory()) Object.assign(found, { [`${shown}/`]: '' }, treeOf(full, `${shown}/`))
    else if (stat.isSymbolicLink()) found[shown] = `-> ${readlinkSync(full)}`
    else if (stat.isFile()) found[shown] = readFileSync(full, 'utf8')
    else found[shown] = `device ${stat.rdev}`
  }
  return found
}

/** A test that runs as root in a place of its own, and finds the outside untouched after it. */
export function inPlace(name: string, body: (place: Place) => Promise<void>): void {
  test(name, async (t: TestContext) => {
    if (!root(t)) return
    using here = place()
    const before = lstatSync(here.outside, { bigint: true })
    const open = readdirSync('/proc/self/fd').length
    await body(here)
    assert.equal(readdirSync('/proc/self/fd').length, open)
    assert.deepEqual(treeOf(here.outside), { secret: 'secret' })
    const after = lstatSync(here.outside, { bigint: true })
    assert.deepEqual([after.mode, after.mtimeNs], [before.mode, before.mtimeNs])
    assert.equal(lstatSync(join(here.outside, 'secret')).mode & 0o7777, 0o644)
  })
}
