import assert from 'node:assert/strict'
import { test } from 'node:test'

import { digestOf } from '#lib/digest/digest.ts'
import { codeOf } from '#lib/errors/errors.ts'

import { chainIds } from './chain-id.ts'
import { parseConfig, parseIndex, parseManifest } from './oci.ts'

const bytes = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value))
const invalid = (err: unknown): boolean => codeOf(err) === 'invalid_argument'

test('a manifest that is not one, or lies about sizes and digests, is refused', () => {
  const digest = digestOf('x')
  const good = { mediaType: 't', digest, size: 1 }
  assert.deepEqual(parseManifest(bytes({ config: good, layers: [good] })).layers.length, 1)
  for (const config of [
    undefined,
    { ...good, size: -1 },
    { ...good, size: 1.5 },
    { ...good, size: '1' },
    { ...good, digest: 'sha256:../../etc/passwd' },
    { ...good, digest: 7 },
  ]) {
    assert.throws(() => parseManifest(bytes({ config, layers: [] })), invalid)
  }
  for (const text of ['', '[]', 'null', '{', '"x"']) {
    assert.throws(() => parseManifest(Buffer.from(text)), invalid, text)
    assert.throws(() => parseIndex(Buffer.from(text)), invalid, text)
  }
})

test('a config has empty fields for what it does not say', () => {
  const config = parseConfig(bytes({ config: { Cmd: null, Env: ['A=1', 2] }, rootfs: {} }))
  assert.deepEqual(config, {
    user: '',
    env: ['A=1'],
    entrypoint: [],
    cmd: [],
    workingDir: '',
    stopSignal: '',
    diffIds: [],
  })
  assert.throws(() => parseConfig(bytes({ rootfs: { diff_ids: ['x'] } })), invalid)
})

test('a chain ID is of a layer and all below it', () => {
  const [a, b, c] = [digestOf('a'), digestOf('b'), digestOf('c')]
  const ab = digestOf(`${a} ${b}`)
  assert.deepEqual(chainIds([a, b, c]), [a, ab, digestOf(`${ab} ${c}`)])
  assert.deepEqual(chainIds([]), [])
})
