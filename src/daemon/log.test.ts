import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { createLogger } from './log.ts'

/** A sink that keeps its lines, without their times. */
function sink() {
  const lines: string[] = []
  const write = (line: string): void => {
    lines.push(line.replace(/"?time"?[=:]"[^"]*",? ?/, '').trim())
  }
  return { lines, write }
}

void suite('log', () => {
  void test('has the forms of logrus', () => {
    const text = sink()
    const json = sink()
    for (const [format, to] of [
      ['text', text],
      ['json', json],
    ] as const) {
      const log = createLogger({ level: 'info', format, traceId: false }, to)
      log.with({ plugin: 'a/b' }).warn('it is so', { error: new Error('x y'), n: 1 })
    }
    assert.deepEqual(text.lines, ['level=warning msg="it is so" plugin=a/b error="x y" n=1'])
    assert.deepEqual(JSON.parse(json.lines[0]?.replace(',}', '}') ?? ''), {
      level: 'warning',
      msg: 'it is so',
      plugin: 'a/b',
      error: 'x y',
      n: 1,
    })
  })

  void test('a new level and form hold for loggers that were derived before', () => {
    const { lines, write } = sink()
    const log = createLogger({ level: 'warn', format: 'text', traceId: false }, { write })
    const derived = log.with({ a: 1 })
    derived.info('unheard')
    log.configure({ level: 'debug', format: 'json', traceId: false })
    derived.debug('heard')
    log.configure({ level: 'panic', format: 'text', traceId: false })
    derived.error('unheard')
    assert.equal(lines.length, 1)
    assert.match(lines[0] ?? '', /^\{.*"msg":"heard"/)
  })
  void test('the id of a trace is shown where the log is told to', () => {
    const { lines, write } = sink()
    const log = createLogger({ level: 'info', format: 'text', traceId: true }, { write })
    log.with({ trace_id: 'abc', n: 1 }).info('seen')
    log.configure({ level: 'info', format: 'text', traceId: false })
    log.with({ trace_id: 'abc', n: 1 }).info('unseen')
    assert.deepEqual(lines, ['level=info msg=seen trace_id=abc n=1', 'level=info msg=unseen n=1'])
  })

  void test('what is not logged is not even looked at', () => {
    const log = createLogger({ level: 'info', format: 'text', traceId: false }, sink())
    const fields = new Proxy({}, { ownKeys: () => assert.fail('was looked at') })
    log.with({ a: 1 }).debug('unheard', fields)
    assert.throws(() => log.info('heard', fields), /was looked at/)
  })

  void test('a field that is called as a part of the line is told apart from it', () => {
    const { lines, write } = sink()
    const log = createLogger({ level: 'info', format: 'text', traceId: false }, { write })
    log.info('real', { msg: 'other' })
    assert.deepEqual(lines, ['level=info msg=real fields.msg=other'])
  })
})
