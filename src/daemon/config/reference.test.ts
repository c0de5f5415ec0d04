import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { suite, test } from 'node:test'

import { builtins } from '#daemon/builtins.ts'
import { toSnake } from '#lib/toml/decode.ts'

import { referenceText } from './reference.ts'

const path = fileURLToPath(new URL('../../../docs/configuration.md', import.meta.url))

void suite('the reference of the configuration', () => {
  void test('has every key of every plugin', () => {
    const document = readFileSync(path, 'utf8')
    for (const { uri, config } of builtins) {
      const [, after = ''] = document.split(`[plugins."${uri}"]\`\n`)
      const [section = ''] = after.split('\n#')
      for (const name of Object.keys(config)) {
        const key = toSnake(name)
        assert.ok(section.includes(`| \`${key}\` |`), `${uri}.${key}: tools/config-reference.ts`)
      }
    }
  })

  void test('tells defaults in TOML, and what is applied at once', () => {
    const text = referenceText(builtins)
    assert.match(text, /\| `debug\.level` \| `""` \| .* \| applied \|/)
    assert.match(text, /\| `pause_threshold` \| `0\.02` \| .* \| applied \|/)
    assert.match(text, /\| `root` \| `"\/var\/lib\/containerd"` \| .* \| {2}\|/)
  })
})
