import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { closeSync, mkdtempDisposableSync, openSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { spawnDirectly } from './spawn.ts'

interface Said {
  readonly status: number | undefined
  readonly signal: number | undefined
  readonly out: string
}

/** What `sh -c script` says and how it ends. */
async function sh(script: string, env: NodeJS.ProcessEnv = process.env): Promise<Said> {
  using dir = mkdtempDisposableSync(join(tmpdir(), 'wharf-spawn-'))
  const file = join(dir.path, 'out')
  const [stdin, out] = [openSync('/dev/null', 'r'), openSync(file, 'a')]
  // The loop would end: nothing that Node knows of is waited for.
  using _alive = setInterval(() => {}, 10_000)
  try {
    const { ended } = spawnDirectly({
      program: 'sh',
      argv: ['a name', '-c', script, 'first', 'zwölf', ''],
      env,
      stdio: [stdin, out, out],
    })
    const exit = await ended
    return { status: exit?.status, signal: exit?.signal, out: readFileSync(file, 'utf8') }
  } finally {
    closeSync(stdin)
    closeSync(out)
  }
}

void suite('a process that is started without a copy of this one', () => {
  void test('gets its arguments and variables as they are', async () => {
    const said = await sh('echo "$0|$1|$2|$A|$HOME"; tr "\\0" "|" </proc/$$/cmdline', { A: 'ü=x' })
    assert.equal(said.status, 0)
    assert.match(said.out, /^first\|zwölf\|\|ü=x\|\n/)
    assert.match(said.out, /^a name\|-c\|/m)
  })

  void test('no variable, and no argument beyond its name', async () => {
    using _alive = setInterval(() => {}, 10_000)
    const null0 = openSync('/dev/null', 'r+')
    const stdio = [null0, null0, null0] as const
    const exit = await spawnDirectly({ program: 'true', argv: ['true'], env: {}, stdio }).ended
    closeSync(null0)
    assert.equal(exit?.status, 0)
  })

  void test('says how it ended', async () => {
    assert.deepEqual(await sh('exit 3'), { status: 3, signal: undefined, out: '' })
    assert.deepEqual(await sh('kill -TERM $$'), { status: 143, signal: 15, out: '' })
  })

  void test('has the descriptors that one of Node has, and no signal ignored or held back', async () => {
    const script = 'ls /proc/$$/fd | xargs; grep -E "^Sig(Blk|Ign)" /proc/$$/status'
    const file = openSync('/dev/null', 'r')
    const { out } = await sh(script)
    const ofNode = spawnSync('sh', ['-c', script], { encoding: 'utf8' }).stdout
    closeSync(file)
    assert.equal(out, ofNode)
    assert.equal(out.match(/:\s+0+$/gm)?.length, 2)
  })

  void test('one after another and many at once, each is told of', async () => {
    const all = await Promise.all(Array.from({ length: 20 }, async (_, n) => await sh(`exit ${n}`)))
    assert.deepEqual(
      all.map(({ status }) => status),
      all.map((_, n) => n),
    )
  })

  void test('a program that is not there is named', () => {
    const stdio = [0, 1, 2] as const
    const start = () => spawnDirectly({ program: '/no/such', argv: ['x'], env: {}, stdio })
    assert.throws(start, { code: 'ENOENT', message: /spawn '\/no\/such'/ })
  })
})
