import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile, rm, stat, symlink } from 'node:fs/promises'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'

import { silent } from '#core/context.ts'
import { recordingLogger } from '#testing/context.ts'

import { dump, dumpFile } from './dump.ts'
import { serviceManager } from './notify.ts'
import { takePlace } from './place.ts'

test('a dump is in the log and in a file of its own, whatever was there before', async () => {
  const path = dumpFile()
  await using dir = await mkdtempDisposable(join(tmpdir(), 'dump-'))
  const target = join(dir.path, 'target')
  await rm(path, { force: true })
  await symlink(target, path)
  try {
    const lines: string[] = []
    await dump(recordingLogger(lines))
    assert.match(lines.join('\n'), /^info what the daemon is doing/)
    assert.match(await readFile(path, 'utf8'), /open handles:[^]*threads:[^]*MainThread/)
    assert.equal((await stat(path)).mode & 0o777, 0o600)
    await assert.rejects(stat(target), { code: 'ENOENT' })
  } finally {
    await rm(path, { force: true })
  }
})

test('a service manager that is not there is said, and its address is not inherited', () => {
  const lines: string[] = []
  const env: NodeJS.ProcessEnv = { NOTIFY_SOCKET: '/nowhere/notify' }
  const manager = serviceManager(recordingLogger(lines), env)
  manager.ready()
  assert.deepEqual(env, {})
  assert.match(lines.join(), /warn notifying the service manager failed.*READY=1.*ENOENT/)
  serviceManager(recordingLogger(lines), env).stopping()
  assert.equal(lines.length, 1)
})

test('a cgroup outside the hierarchy is refused', () => {
  assert.throws(() => takePlace({ oomScore: 0, cgroup: '/a/../../b' }, silent), {
    code: 'invalid_argument',
  })
})

test('the environment is not in a dump', async () => {
  const program = `import { activity } from '#lib/pprof/activity.ts'; console.log(activity())`
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--input-type=module', '--eval', program],
    { env: { ...process.env, SECRET: 'do-not-tell' }, cwd: import.meta.dirname },
  )
  assert.match(stdout, /resident/)
  assert.ok(!stdout.includes('do-not-tell'))
})
