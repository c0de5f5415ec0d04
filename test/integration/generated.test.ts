import assert from 'node:assert/strict'
import { mkdtempDisposable, readdir, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { run } from '#testing/daemon.ts'

const repository = fileURLToPath(new URL('../..', import.meta.url))

test('src/gen is what the files in api/ generate', async () => {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'gen-'))
  const bin = join(repository, 'node_modules/.bin')
  const env = { ...process.env, PATH: `${bin}:${process.env['PATH']}` }
  const template = JSON.stringify({
    version: 'v2',
    plugins: [
      {
        local: 'protoc-gen-es',
        out: dir.path,
        opt: ['target=ts', 'import_extension=ts', 'erasable_syntax=true'],
      },
    ],
  })
  const buf = await run('buf', ['generate', repository, '--template', template], { env })
  assert.equal(buf.code, 0, buf.stderr)
  const committed = join(repository, 'src/gen')
  const files = (await readdir(committed, { recursive: true })).filter((f) => f.endsWith('.ts'))
  const generated = (await readdir(dir.path, { recursive: true })).filter((f) => f.endsWith('.ts'))
  assert.deepEqual(generated.toSorted(), files.toSorted())
  for (const file of files) {
    const [want, have] = [join(dir.path, file), join(committed, file)]
    assert.equal(await readFile(have, 'utf8'), await readFile(want, 'utf8'), `${file} is stale`)
  }
})
