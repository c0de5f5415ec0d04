import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { isErrno } from './errno.ts'
import { openRoot } from './resolve.ts'
import { removeTree, type TreeRemoval } from './tree.ts'

/** Removes a tree while somebody else fills one of its directories. @returns whether it is gone, and what is left */
async function removeWhileFilled(removal: TreeRemoval): Promise<readonly [boolean, string[]]> {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'tree-'))
  fs.mkdirSync(join(dir.path, 'tree/a/b'), { recursive: true })
  fs.mkdirSync(join(dir.path, 'tree/c'))
  const root = openRoot(dir.path)
  let calls = 0
  try {
    // The third name is b, whose names have not been listed yet when a's have.
    const check = (): void => {
      if (++calls === 3) fs.writeFileSync(join(dir.path, 'tree/a/late'), '')
    }
    return [removeTree(root, 'tree', { ...removal, check }), fs.readdirSync(dir.path)]
  } finally {
    fs.closeSync(root)
  }
}

suite('removing a tree', () => {
  test('what appears meanwhile is an error', async () => {
    await assert.rejects(removeWhileFilled({}), (err) => isErrno(err, 'ENOTEMPTY'))
  })

  test('what another remover still has is left to it', async () => {
    assert.deepEqual(await removeWhileFilled({ meeting: 'first' }), [false, ['tree']])
  })
})
