import assert from 'node:assert/strict'
import { test } from 'node:test'

import type { ImageConfig } from '#core/images/oci.ts'
import { codeOf } from '#lib/errors/errors.ts'

import { buildProcess, buildSpec, packSpec } from './build.ts'
import { parseProcess } from './parse.ts'

const container = { namespace: 'ns', id: 'one' }
const image: ImageConfig = {
  user: '1000:50',
  env: ['PATH=/bin', 'A=1'],
  entrypoint: ['/entry'],
  cmd: ['default'],
  workingDir: '/work',
  stopSignal: '',
  diffIds: [],
}

test('an image says what runs, and the caller has the last word', () => {
  const own = buildSpec(container, image).process
  assert.deepEqual(own.args, ['/entry', 'default'])
  assert.deepEqual(own.env, ['PATH=/bin', 'A=1'])
  assert.deepEqual([own.cwd, own.user.uid, own.user.gid], ['/work', 1000, 50])
  const given = buildSpec(container, image, {
    args: ['x', 'y'],
    env: { A: '2', B: '3' },
    cwd: '/',
    user: '7',
    terminal: true,
  }).process
  assert.deepEqual(given.args, ['/entry', 'x', 'y'])
  assert.deepEqual(given.env, ['PATH=/bin', 'A=2', 'B=3'])
  assert.deepEqual([given.cwd, given.user.uid, given.terminal], ['/', 7, true])
  assert.equal(
    buildSpec(container, image, { change: (s) => ({ ...s, hostname: 'h' }) }).hostname,
    'h',
  )
})

test('without an image there is a search path and the root directory', () => {
  const { process } = buildSpec(container, undefined, { args: ['x'] })
  assert.deepEqual(process.env, [
    'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  ])
  assert.equal(process.cwd, '/')
  assert.throws(
    () => buildSpec(container, undefined),
    (err) => codeOf(err) === 'invalid_argument',
  )
})

test('a container is confined unless it is told otherwise', () => {
  const { linux, process, root } = buildSpec(container, image)
  assert.equal(linux.cgroupsPath, '/ns/one')
  assert.deepEqual(
    linux.namespaces.map(({ type }) => type),
    ['pid', 'ipc', 'uts', 'mount', 'network'],
  )
  assert.deepEqual(linux.resources.devices[0], { allow: false, access: 'rwm' })
  assert.equal(process.noNewPrivileges, true)
  assert.ok(!process.capabilities?.effective.includes('CAP_SYS_ADMIN'))
  assert.equal(root.readonly, undefined)
  const open = buildSpec(container, image, { hostNetwork: true, readonlyRootfs: true })
  assert.ok(!open.linux.namespaces.some(({ type }) => type === 'network'))
  assert.equal(open.root.readonly, true)
})

test('limits are added to what devices are allowed', () => {
  const { resources } = buildSpec(container, image, { resources: { pids: { limit: 5 } } }).linux
  assert.deepEqual(resources.pids, { limit: 5 })
  assert.ok(resources.devices.length > 0)
})

test('an added process is as confined as the first, whoever wrote the spec', () => {
  const spec = buildSpec(container, image, {
    change: (s) => ({
      ...s,
      process: { ...s.process, apparmorProfile: 'strict' } as typeof s.process,
    }),
  })
  const first = parseProcess(packSpec(spec))
  const added = buildProcess(first, { args: ['ls'], env: ['A'] })
  assert.deepEqual(added.args, ['ls'])
  assert.deepEqual(added.env, ['PATH=/bin'])
  assert.deepEqual(added.capabilities, spec.process.capabilities)
  assert.equal(Object.entries(added).find(([key]) => key === 'apparmorProfile')?.[1], 'strict')
})
