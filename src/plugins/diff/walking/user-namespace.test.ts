import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { inPlace } from '#testing/extract-place.ts'
import { archive, dir, file } from '#testing/layer-archive.ts'

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url))

/** Unpacks standard input onto an overlay, and tells what is seen through it. */
const program = `
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { applyLayer } from '${here('./apply-layer.ts')}'
import { mountTemporarily, openTarget } from '${here('./mounted.ts')}'
import { inUserNamespace } from '${here('./user-namespace.ts')}'
const root = process.argv[1]
const dirs = ['lowerdir=' + root + '/lower', 'upperdir=' + root + '/upper', 'workdir=' + root + '/work']
const mounts = [{ type: 'overlay', source: 'overlay', options: [...dirs, 'userxattr'] }]
if (!inUserNamespace()) throw new Error('not in a user namespace')
{
  using opened = openTarget(mounts, { tempDir: root + '/temp' })
  if (opened.target.overlay) throw new Error('not through a mount')
  await applyLayer([readFileSync(0)], opened.target, { compressed: false, check() {} })
}
using mounted = mountTemporarily(mounts, root + '/temp')
process.stdout.write(execFileSync('find', ['.', '-type', 'f'], { cwd: mounted.path }))
`

inPlace('in a user namespace an overlay is written through its mount', async ({ root }) => {
  for (const name of ['lower/o', 'upper', 'work', 'temp']) {
    mkdirSync(join(root, name), { recursive: true })
  }
  for (const name of ['gone', 'kept', 'o/old']) writeFileSync(join(root, 'lower', name), '')
  const input = archive(
    file('.wh.gone'),
    dir('o/'),
    file('o/.wh..wh..opq'),
    file('o/new', 'x'),
    // Nobody there may make one; it is left out.
    { type: 'character', name: 'null', mode: 0o666, major: 1, minor: 3 },
  )
  const node = [process.execPath, '--input-type=module', '-e', program, root]
  const args = ['--user', '--map-root-user', '--mount', ...node]
  const found = String(await Promise.resolve(execFileSync('unshare', args, { input })))
  assert.deepEqual(found.trim().split('\n').toSorted(), ['./kept', './o/new'])
})
