import assert from 'node:assert/strict'
import { accessSync, constants, mkdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

import { handlesOf } from '#testing/handles.ts'

import { CgroupMoves } from './cgroup-moves.ts'
import { cgroupPaths, cgroupsText } from './cgroup.ts'

/** The hierarchy that is used, and the group this process is in there. */
const own = (): readonly [controller?: string, group?: string] => [...cgroupPaths('self')][0] ?? []
const ownGroup = (): string | undefined => own()[1]

const refusal = (): string | false => {
  const [controller, group] = own()
  if (group === undefined) return 'no control group is mounted'
  if (controller === 'cpuset') return 'new groups take nobody before they are filled in'
  try {
    accessSync(join(group, 'cgroup.procs'), constants.W_OK)
    accessSync(group, constants.W_OK)
    return false
  } catch {
    return 'groups cannot be written to'
  }
}
const skip = refusal()

test('a process that expects moves stays where it is', { skip }, async () => {
  using moves = new CgroupMoves()
  const before = cgroupsText('self')
  await Promise.all([moves.expect(), moves.expect()])
  await moves.expect()
  assert.equal(cgroupsText('self'), before)
})

test('one that was moved stays there', { skip }, async () => {
  using moves = new CgroupMoves()
  await moves.expect()
  const home = ownGroup() ?? ''
  const group = join(home, `wharf-moves-${process.pid}`)
  mkdirSync(group)
  try {
    writeFileSync(join(group, 'cgroup.procs'), '0')
    const moved = cgroupsText('self')
    await moves.expect()
    assert.equal(cgroupsText('self'), moved)
    assert.equal(ownGroup(), group)
  } finally {
    writeFileSync(join(home, 'cgroup.procs'), '0')
    rmdirSync(group)
  }
})

test('nothing stays open, and nothing happens after the end', { skip }, async () => {
  const before = handlesOf('self')
  const moves = new CgroupMoves()
  const readying = moves.expect()
  moves[Symbol.dispose]()
  await readying
  await moves.expect()
  assert.deepEqual(handlesOf('self'), before)
})
