import assert from 'node:assert/strict'
import { mkdtempDisposableSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { codeOf, describe } from '#lib/errors/errors.ts'
import { findProgram } from '#testing/programs.ts'

import { CommandError } from './command-error.ts'
import { run } from './command.ts'
import { isUnknownContainer, killError, runtimeError } from './runtime-error.ts'

suite('errors of the OCI runtime', () => {
  test('the last error of its log says why', () => {
    using dir = mkdtempDisposableSync(join(tmpdir(), 'runtime-error-'))
    const log = join(dir.path, 'log.json')
    const lines = [
      { level: 'error', msg: 'first' },
      { level: 'error', msg: 'exec: "x": not found\n' },
      { level: 'info', msg: 'no "error" here' },
    ]
    writeFileSync(
      log,
      `${lines.map((line) => JSON.stringify(line)).join('\n')}\n{"level":"error","m`,
    )
    const failed = new CommandError('runc did not terminate successfully: exit status 1', '')
    assert.equal(
      describe(runtimeError('OCI runtime create failed', log, failed)),
      'OCI runtime create failed: exec: "x": not found',
    )
    writeFileSync(log, '')
    assert.equal(
      describe(runtimeError('failed to delete task', log, failed)),
      'failed to delete task: runc did not terminate successfully: exit status 1',
    )
    assert.match(
      describe(runtimeError('OCI runtime create failed', join(dir.path, 'none'), failed)),
      /^OCI runtime create failed: unable to retrieve OCI runtime error \(ENOENT.*\): runc did not/,
    )
  })

  test('a kill that comes too late is not_found', () => {
    const says = (output: string): Error => killError(new CommandError('runc kill', output))
    for (const output of ['container not running', 'kill container: No such process']) {
      assert.equal(codeOf(says(output)), 'not_found')
      assert.match(describe(says(output)), /^process already finished: not found/)
    }
    assert.match(describe(says('container "x" does not exist')), /^no such container: not found/)
    assert.equal(codeOf(says('permission denied')), undefined)
    assert.match(
      describe(says('permission denied')),
      /^unknown error after kill: .*permission denied/,
    )
    assert.ok(isUnknownContainer(new CommandError('x', 'container "x" does not exist')))
  })

  for (const runtime of ['runc', 'crun']) {
    const program = findProgram(runtime) ?? ''
    const skip = program === '' && `needs ${runtime}`
    test(`a container that ${runtime} does not know is not_found`, { skip }, async () => {
      using dir = mkdtempDisposableSync(join(tmpdir(), 'runtime-error-'))
      const failure = async (...args: string[]): Promise<unknown> =>
        await run(program, ['--root', dir.path, ...args]).then(
          () => undefined,
          (err: unknown) => err,
        )
      const killed = killError(await failure('kill', 'nobody', '9'))
      assert.equal(codeOf(killed), 'not_found')
      assert.match(describe(killed), /^no such container: not found/)
      assert.ok(isUnknownContainer(await failure('delete', 'nobody')))
    })
  }

  test('a command that fails tells its status and what it printed', async () => {
    assert.equal(await run('sh', ['-c', 'cat; echo end'], { input: 'text ' }), 'text end\n')
    await assert.rejects(run('sh', ['-c', 'echo why >&2; exit 3']), {
      name: 'CommandError',
      message: 'sh did not terminate successfully: exit status 3: why',
    })
    await assert.rejects(run('sh', ['-c', 'kill -9 $$']), /signal: SIGKILL$/)
    await assert.rejects(run('/no/such/program', []), /^CommandError: run \/no\/such\/program$/)
    const signal = AbortSignal.timeout(50)
    await assert.rejects(run('sleep', ['10'], { signal }), { name: 'CommandError' })
  })
})
