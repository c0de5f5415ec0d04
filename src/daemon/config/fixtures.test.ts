import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'

import { isTable } from '#lib/toml/decode.ts'
import { formatKey, type KeyPath } from '#lib/toml/key.ts'
import { builtins } from '#daemon/builtins.ts'

import type { Config } from './config.ts'
import { dumpConfig, dumpDefault } from './dump.ts'
import { effectiveTable } from './effective.ts'
import { configure, parseConfig } from './load.ts'
import { parseDocument } from './parse.ts'

/*
 * Configurations as people have them: of containerd's own `config default`, of Kubernetes
 * distributions, of snapshotters and runtimes that plug in, of each version. Nothing they say is lost.
 */

const folder = join(import.meta.dirname, 'fixtures')
const files = readdirSync(folder).filter((name) => name.endsWith('.toml'))
const read = (name: string): string => readFileSync(join(folder, name), 'utf8')
const parse = (text: string, name = 'config.toml'): Config => parseConfig(text, builtins, {}, name)

/** Values that have another form after the migration. */
const reshaped: Readonly<Record<string, (value: unknown) => unknown>> = {
  bin_dir: (value) => [value],
  sched_core: () => ['SCHED_CORE=1'],
  version: () => 4,
}

/** Tables in which a zero says nothing. */
const legacy = new Set(['grpc', 'ttrpc', 'metrics', 'debug'])

const saysNothing = (path: KeyPath, value: unknown): boolean =>
  (legacy.has(path[0] ?? '') || path.at(-1) === 'sched_core') &&
  (value === '' || value === 0 || value === false)

void suite('a configuration as people have them', () => {
  void test('there are enough of them, of every version', () => {
    assert.ok(files.length >= 30)
    for (const version of ['v1', 'v2', 'v3', 'v4']) {
      assert.ok(files.filter((name) => name.startsWith(version)).length >= 3, version)
    }
  })

  for (const name of files) {
    void test(`${name} has no unknown key`, () => {
      assert.deepEqual(parse(read(name)).unknownKeys, [])
    })

    void test(`${name} keeps every value in the migration`, () => {
      const said = [...parseDocument(read(name), name).tree.leaves()]
      const config = parse(read(name), name)
      const effective = effectiveTable(config)
      for (const { path, leaf } of said) {
        if (saysNothing(path, leaf.value)) continue
        const now = pathOf(config, path)
        assert.ok(now, `${formatKey(path)} is lost`)
        const moved = path.at(-1) !== now.at(-1) || path[0] === 'version'
        const reshape = moved ? reshaped[path.at(-1) ?? ''] : undefined
        const expected = reshape ? reshape(leaf.value) : leaf.value
        assert.ok(
          isSame(valueAt(effective, now), expected),
          `${formatKey(path)} is ${JSON.stringify(valueAt(effective, now))} at ${formatKey(now)}`,
        )
      }
    })

    void test(`${name} means the same when its dump is loaded`, () => {
      const config = parse(read(name))
      const dump = dumpConfig(config)
      const again = parse(dump)
      assert.deepEqual(effectiveTable(again), effectiveTable(config))
      assert.deepEqual(again.plugins, config.plugins)
      assert.deepEqual(again.unknownKeys, [])
      assert.equal(dumpConfig(again), dump)
    })
  }
})

void suite('the default configuration', () => {
  const ours = configure({ version: 4 }, builtins)

  for (const name of ['default-1.6.toml', 'default-2.1.toml']) {
    void test(`containerd's ${name} means what no configuration means`, () => {
      const theirs = parse(read(name))
      assert.deepEqual(theirs.plugins, ours.plugins)
      assert.deepEqual(theirs.timeouts, ours.timeouts)
      assert.deepEqual(
        new Set(theirs.streamProcessors.map((processor) => processor.id)),
        new Set(ours.streamProcessors.map((processor) => processor.id)),
      )
      for (const key of [
        'root',
        'state',
        'address',
        'ttrpcAddress',
        'oomScore',
        'debug',
      ] as const) {
        assert.deepEqual(theirs[key], ours[key], key)
      }
    })
  }

  void test('is printed as a file that means the same, and that imports conf.d', () => {
    const text = dumpDefault(ours)
    const { imports, ...loaded } = effectiveTable(parse(text))
    const { imports: none, ...expected } = effectiveTable(ours)
    assert.deepEqual(loaded, expected)
    assert.deepEqual([imports, none], [['/etc/containerd/conf.d/*.toml'], []])
  })
})

/** Where the value that was written at `path` is in the latest version. */
function pathOf(config: Config, path: KeyPath): KeyPath | undefined {
  for (const found of config.tree.leaves()) {
    const { key, derived } = found.leaf.origin
    if (!derived && isDeepStrictEqual(key, path)) return found.path
  }
  return undefined
}

function valueAt(table: unknown, path: KeyPath): unknown {
  let at = table
  for (const name of path) at = isTable(at) ? at[name] : undefined
  return at
}

/** Short names of plugins become URIs in lists, too. */
const isSame = (value: unknown, expected: unknown): boolean =>
  // The parser's tables have no prototype.
  isDeepStrictEqual(structuredClone(value), structuredClone(expected)) ||
  (Array.isArray(value) &&
    Array.isArray(expected) &&
    value.length === expected.length &&
    expected.every((item: unknown, i) => String(value[i]).endsWith(`.${String(item)}`)))
