import assert from 'node:assert/strict'
import { appendFileSync, mkdtempDisposableSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { suite, test } from 'node:test'

import type { Fields, Logger } from '#core/context.ts'

import { openShimLog } from './shim-log.ts'

/** What was logged, with all fields. */
function recorder(lines: (Fields & { readonly level: string })[], own: Fields = {}): Logger {
  const at =
    (level: string) =>
    (message: string, fields: Fields = {}) =>
      void lines.push({ level, message, ...own, ...fields })
  return {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    with: (fields) => recorder(lines, { ...own, ...fields }),
  }
}

void suite('the log of a shim', () => {
  void test('lines are passed on with the container they are about', async () => {
    using dir = mkdtempDisposableSync(`${tmpdir()}/shim-log-`)
    const lines: (Fields & { readonly level: string })[] = []
    const bundle = { namespace: 'n', id: 'first', path: dir.path, work: dir.path }
    using _ = openShimLog(bundle, recorder(lines))
    using _alive = setInterval(() => {}, 1000)
    const entry = { id: 'second', error: 'why', level: 'warning', msg: 'said', time: 'then' }
    const text = 'time="then" level=error msg="said by Go"'
    const torn = '{"msg":"half'
    appendFileSync(`${dir.path}/log`, `${JSON.stringify(entry)}\n${text}\n${torn}\n\n`)
    while (lines.length < 3) await new Promise(setImmediate)
    assert.deepEqual(lines, [
      {
        level: 'warn',
        message: 'said',
        namespace: 'n',
        component: 'shim',
        id: 'second',
        error: 'why',
      },
      { level: 'error', message: 'shim', namespace: 'n', id: 'first', line: text },
      { level: 'info', message: 'shim', namespace: 'n', id: 'first', line: torn },
    ])
  })
})
