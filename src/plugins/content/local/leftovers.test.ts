import assert from 'node:assert/strict'
import * as fs from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { digestOf } from '#lib/digest/digest.ts'
import { newContext } from '#testing/context.ts'

import { LocalStore } from './local-store.ts'

suite('what is left of uploads', () => {
  test('goes before uploads are looked at, and those that can be gone on with stay', async (t) => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'leftovers-'))
    const ctx = newContext(t)
    {
      const store = LocalStore.open(ctx, dir.path)
      await using writer = await store.writer(ctx, { ref: 'good' })
      await writer.write(ctx, Buffer.from('hello'))
    }
    const ingest = join(dir.path, 'ingest')
    const make = (ref: string, files: Readonly<Record<string, string>>): void => {
      const path = join(ingest, digestOf(ref).slice('sha256:'.length))
      fs.mkdirSync(path)
      for (const [name, text] of Object.entries(files)) fs.writeFileSync(join(path, name), text)
    }
    make('just made', {})
    make('without data', { ref: 'without data', startedat: '', updatedat: '' })
    make('without a name', { data: 'hello' })
    make('whose name is not on disk', { ref: '', data: '' })

    const store = LocalStore.open(ctx, dir.path)
    assert.equal(fs.readdirSync(ingest).length, 5)
    const refs = (await store.listStatuses(ctx)).map(({ ref }) => ref)
    assert.deepEqual(refs, ['good'])
    assert.equal(fs.readdirSync(ingest).length, 1)
    await using writer = await store.writer(ctx, { ref: 'good' })
    assert.equal(writer.digest(), digestOf('hello'))
  })

  test('is nothing when an upload could not begin', async (t) => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'leftovers-'))
    const ctx = newContext(t)
    const store = LocalStore.open(ctx, dir.path)
    await store.listStatuses(ctx)
    fs.rmdirSync(join(dir.path, 'ingest'))
    await assert.rejects(store.writer(ctx, { ref: 'up' }), { code: 'ENOENT' })
    fs.mkdirSync(join(dir.path, 'ingest'))
    await using writer = await store.writer(ctx, { ref: 'up' })
    assert.equal(writer.status().offset, 0)
  })
})
