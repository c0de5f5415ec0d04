import assert from 'node:assert/strict'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { packageRoot, packageVersion } from '#lib/release/release.ts'
import { run } from '#testing/daemon.ts'

const wharf = async (...args: string[]) =>
  await run(process.execPath, [join(packageRoot, 'bin/wharf.mjs'), ...args])

void suite('wharf', () => {
  void test('--help lists the commands, each of which has help of its own', async () => {
    const { code, stdout, stderr } = await wharf('--help')
    assert.deepEqual([code, stderr], [0, ''])
    assert.match(stdout, /^Usage: wharf /)
    assert.match(stdout, /^ +doctor\b/m)
    assert.match(stdout, /^ +events\b/m)
    assert.match(stdout, /^ +pull\b/m)
    const doctor = await wharf('doctor', '--help')
    assert.equal(doctor.code, 0)
    assert.match(doctor.stdout, /^ +db\b/m)
    assert.match((await wharf('doctor', 'db', '--help')).stdout, /^Exit code: 0/m)
  })

  void test('--version says the version of the package', async () => {
    for (const flag of ['--version', '-v']) {
      const { code, stdout } = await wharf(flag)
      assert.deepEqual([code, stdout], [0, `${packageVersion}\n`])
    }
  })

  void test('bad usage is told on standard error, and ends with 2', async () => {
    const bad = [
      [],
      ['nothing'],
      ['logs'],
      ['logs', 'x', '--tail', 'y'],
      ['logs', 'x', '--since', 'y'],
      ['doctor', 'nothing'],
      ['pull'],
      ['image', 'export', 'file'],
      ['doctor', 'db'],
      ['--what'],
    ]
    for (const args of bad) {
      const { code, stdout, stderr } = await wharf(...args)
      assert.deepEqual([code, stdout], [2, ''], args.join(' '))
      assert.notEqual(stderr, '', args.join(' '))
    }
  })

  void test('a failure is told in one line, and ends with 1', async () => {
    const { code, stdout, stderr } = await wharf('doctor', 'db', '/nowhere/meta.db')
    assert.deepEqual([code, stdout], [1, ''])
    assert.match(stderr, /^wharf: ENOENT: .*'\/nowhere\/meta.db'\n$/)
  })
})
