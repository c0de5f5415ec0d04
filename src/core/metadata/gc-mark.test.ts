import assert from 'node:assert/strict'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import type { Bucket } from '#lib/bolt/database.ts'
import { openDatabase } from '#lib/bolt/open.ts'

import { writeLabels, writeTime } from './fields.ts'
import { Marking } from './gc-mark.ts'
import { make } from './schema.ts'
import { inSlices } from './slices.ts'

/** A database in short: where each record is, with its fields and labels. */
type Shape = Readonly<Record<string, Readonly<Record<string, string>>>>

const now = new Date('2026-01-01T00:00:00Z')
const past = '2025-12-31T23:59:59Z'
const future = '2026-01-01T00:00:01Z'
const gc = (name: string): string => `containerd.io/gc.${name}`

/** Marks a database with what is in `shape`, paths below one namespace. */
async function mark(
  shape: Shape,
): Promise<{ readonly marked: readonly string[]; readonly garbage: readonly string[] }> {
  await using dir = await mkdtempDisposable(join(tmpdir(), 'mark-'))
  await using database = await openDatabase(join(dir.path, 'meta.db'))
  await database.update((tx) => write(tx, shape))
  using state = database.pin()
  const marking = new Marking(now)
  await inSlices(marking.scan(state.root), 1)
  const garbage = await inSlices(marking.garbage(), 1)
  return {
    marked: Array.from(marking.marked, (id) => id.replace('\0ns\0', ' ')),
    garbage: garbage.map(({ type, key }) => `${type} ${key}`),
  }
}

function write(tx: Bucket, shape: Shape): void {
  for (const [path, fields] of Object.entries(shape)) {
    const bucket = make(tx, ['v1', 'ns', ...path.split('|')])
    const labels = Object.entries(fields).filter(([key]) => key.startsWith('containerd.io/'))
    writeLabels(bucket, Object.fromEntries(labels))
    for (const [key, value] of Object.entries(fields)) {
      if (key === 'expireat') writeTime(bucket, key, new Date(value))
      else if (key === 'target') make(bucket, ['target']).put('digest', value)
      else if (key.includes('|')) make(bucket, key.split('|').slice(0, -1)).put(lastOf(key), value)
      else if (!key.startsWith('containerd.io/')) bucket.put(key, value)
    }
  }
}

/** Checks that of what is in `shape` exactly `kept` is marked, and the rest is garbage. */
async function marks(shape: Shape, kept: readonly string[]): Promise<void> {
  const { marked, garbage } = await mark(shape)
  assert.deepEqual(marked.toSorted(), kept.toSorted())
  const all = Object.keys(shape).map((path) => path.replace(/^(content.)?(\w+?)s?\|/, '$2 '))
  const expected = all.map((id) => id.replace('blob ', 'content ').replace('|', '/'))
  const gone = expected.filter((id) => !kept.includes(id) && !id.startsWith('sandboxe'))
  assert.deepEqual(garbage.toSorted(), gone.toSorted())
}

const lastOf = (key: string): string => key.slice(key.lastIndexOf('|') + 1)

void suite('what the collector keeps', () => {
  void test('content, snapshots and uploads that nothing holds are garbage', async () => {
    await marks({ 'content|blob|a': {}, 'content|ingests|up': {}, 'snapshots|overlayfs|s': {} }, [])
  })

  void test('an image holds its target, and labels hold what they name', async () => {
    await marks(
      {
        'images|i': { target: 'manifest', [gc('ref.image.other')]: 'j' },
        'images|j': { target: 'j' },
        'content|blob|manifest': {
          [gc('ref.content.0')]: 'config',
          [gc('ref.content/l')]: 'layer',
          [gc('ref.contents')]: 'not this',
          [gc('ref.content')]: 'plain',
        },
        'content|blob|config': {
          [gc('ref.snapshot.overlayfs')]: 'top',
          [gc('ref.snapshot.native/name')]: 'copy',
        },
        'content|blob|loose': {},
        'snapshots|overlayfs|top': { parent: 'base' },
        'snapshots|overlayfs|base': {},
        'snapshots|overlayfs|loose': { parent: 'base' },
      },
      [
        'image i',
        'image j',
        'content j',
        'content manifest',
        'content config',
        'content layer',
        'content plain',
        'snapshot overlayfs/top',
        'snapshot overlayfs/base',
        'snapshot native/copy',
      ],
    )
  })

  void test('an image that has expired is garbage, unless something holds it', async () => {
    await marks(
      {
        'images|old': { target: 'old', [gc('expire')]: past },
        'images|new': { target: 'new', [gc('expire')]: future },
        'images|odd': { target: 'odd', [gc('expire')]: 'tomorrow' },
        'images|held': { target: 'held', [gc('expire')]: past },
        'leases|l': { 'images|held': '' },
      },
      [
        'image new',
        'content new',
        'image odd',
        'content odd',
        'lease l',
        'image held',
        'content held',
      ],
    )
  })

  void test('a lease holds what it lists, until it expires', async () => {
    const held = {
      'content|blob': '',
      'ingests|up': '',
      'snapshots|overlayfs|s': '',
      'images|i': '',
    }
    const records = {
      'content|blob|blob': { [gc('ref.content')]: 'deep' },
      'content|ingests|up': { expected: 'shared' },
      'snapshots|overlayfs|s': { parent: 'p', [gc('ref.content')]: 'of snapshot' },
    }
    await marks({ ...records, 'leases|l': { ...held, [gc('expire')]: past } }, [])
    await marks({ ...records, 'leases|l': { ...held, [gc('expire')]: future } }, [
      'lease l',
      'content blob',
      'content deep',
      'ingest up',
      'content shared',
      'snapshot overlayfs/s',
      'snapshot overlayfs/p',
      'content of snapshot',
      'image i',
    ])
  })

  void test('a flat lease holds only what it lists, and what is below snapshots', async () => {
    await marks(
      {
        'leases|l': {
          [gc('flat')]: 'yes',
          'content|blob': '',
          'snapshots|overlayfs|s': '',
          'images|i': '',
        },
        'images|i': { target: 't', [gc('expire')]: past, [gc('ref.content')]: 'deep' },
        'content|blob|blob': { [gc('ref.content')]: 'deep' },
        'content|blob|t': { [gc('ref.content')]: 'deep' },
        'snapshots|overlayfs|s': { parent: 'p', [gc('ref.content')]: 'deep' },
      },
      [
        'lease l',
        'content blob',
        'image i',
        'content t',
        'snapshot overlayfs/s',
        'snapshot overlayfs/p',
      ],
    )
  })

  void test('what is held flat and otherwise too is followed', async () => {
    await marks(
      {
        'leases|l': { [gc('flat')]: 'yes', 'content|blob': '' },
        'images|i': { target: 'blob' },
        'content|blob|blob': { [gc('ref.content')]: 'deep' },
      },
      ['lease l', 'image i', 'content blob', 'content deep'],
    )
  })

  void test('an upload without a lease is kept until its time', async () => {
    await marks(
      {
        'content|ingests|old': { expireat: past },
        'content|ingests|new': { expireat: future, expected: 'blob' },
      },
      ['ingest new', 'content blob'],
    )
  })

  void test('containers hold their root file system and what their labels name', async () => {
    await marks(
      {
        'containers|c': {
          snapshotter: 'overlayfs',
          snapshotKey: 's',
          [gc('ref.snapshot.native')]: 'n',
        },
        'snapshots|overlayfs|s': { parent: 'p' },
      },
      ['container c', 'snapshot overlayfs/s', 'snapshot overlayfs/p', 'snapshot native/n'],
    )
  })

  void test('sandboxes hold what their labels name', async () => {
    await marks({ 'sandboxes|s': { [gc('ref.content')]: 'a' } }, ['content a'])
  })

  void test('a root stays by itself', async () => {
    await marks(
      {
        'content|blob|a': { [gc('root')]: 'yes' },
        'snapshots|overlayfs|s': { [gc('root.because')]: 'yes', parent: 'p' },
      },
      ['content a', 'snapshot overlayfs/s', 'snapshot overlayfs/p'],
    )
  })

  void test('what says that something holds it lives as long as that', async () => {
    await marks(
      {
        'containers|c': {},
        'images|i': { target: 't' },
        'images|expired': { target: 'e', [gc('expire')]: past, [gc('bref.image')]: 'i' },
        'content|blob|t': {},
        'content|blob|of-container': { [gc('bref.container.x')]: 'c' },
        'content|blob|of-image': { [gc('bref.image/x')]: 'i' },
        'content|blob|of-content': { [gc('bref.content')]: 't' },
        'content|blob|of-nobody': { [gc('bref.content')]: 'none' },
        'snapshots|overlayfs|base': { [gc('root')]: 'yes' },
        'content|blob|of-snapshot': { [gc('bref.snapshot.overlayfs/x')]: 'base' },
        'snapshots|overlayfs|of-content': { [gc('bref.content')]: 'of-snapshot' },
      },
      [
        'container c',
        'image i',
        'image expired',
        'content e',
        'content t',
        'content of-container',
        'content of-image',
        'content of-content',
        'snapshot overlayfs/base',
        'content of-snapshot',
        'snapshot overlayfs/of-content',
      ],
    )
  })

  void test('a snapshot is held on a condition on when it was used, while that is true', async () => {
    const usedAt = (time: string): Record<string, string> => ({ [gc('cond.value-usedat')]: time })
    const halfAnHourAgo = usedAt('2025-12-31T23:30:00Z')
    const condition = (text: string, key: string, more = ''): Record<string, string> => ({
      [gc(`cond.snapshot.overlayfs${more}`)]: `${text}|${key}`,
    })
    await marks(
      {
        'images|i': { target: 't', ...condition('usedat<1h', 'recent') },
        'images|expired': { target: 't', [gc('expire')]: past, ...condition('usedat<1h', 'old') },
        'content|blob|t': {
          ...condition('usedat<10m', 'old'),
          ...condition('usedat<10m,usedat>20m', 'either', '/1'),
          ...condition('size<10', 'unknown', '/2'),
          ...condition('usedat<=1h', 'equal', '/3'),
          ...condition('usedat<soon', 'odd', '/4'),
          ...condition('usedat>1ns', 'never used', '/5'),
        },
        'content|blob|loose': condition('usedat<1h', 'old'),
        'snapshots|overlayfs|recent': { parent: 'below', ...halfAnHourAgo },
        'snapshots|overlayfs|below': {},
        'snapshots|overlayfs|either': halfAnHourAgo,
        'snapshots|overlayfs|old': halfAnHourAgo,
        'snapshots|overlayfs|unknown': halfAnHourAgo,
        'snapshots|overlayfs|equal': halfAnHourAgo,
        'snapshots|overlayfs|odd': halfAnHourAgo,
        'snapshots|overlayfs|never used': usedAt('x'),
      },
      [
        'image i',
        'content t',
        'snapshot overlayfs/recent',
        'snapshot overlayfs/below',
        'snapshot overlayfs/either',
      ],
    )
  })

  void test('garbage goes in an order that leaves nothing without what it holds', async () => {
    const { garbage } = await mark({
      'content|blob|config': { [gc('ref.snapshot.overlayfs')]: 'top' },
      'content|blob|manifest': { [gc('ref.content.0')]: 'config', [gc('ref.content.1')]: 'layer' },
      'content|blob|layer': { [gc('bref.content')]: 'config' },
      'content|ingests|up': { expected: 'manifest' },
      'images|i': { target: 'manifest', [gc('expire')]: past },
      'snapshots|overlayfs|base': {},
      'snapshots|overlayfs|top': { parent: 'base', [gc('ref.content')]: 'circle' },
      'content|blob|circle': { [gc('ref.snapshot.overlayfs')]: 'top' },
    })
    const order = [
      ['image i', 'content manifest'],
      ['ingest up', 'content manifest'],
      ['content manifest', 'content config'],
      ['content config', 'content layer'],
      ['content config', 'snapshot overlayfs/top'],
      ['snapshot overlayfs/top', 'snapshot overlayfs/base'],
    ] as const
    assert.equal(garbage.length, 8)
    for (const [first, second] of order) {
      assert.ok(garbage.indexOf(first) < garbage.indexOf(second), `${first} before ${second}`)
    }
  })

  void test('circles end', async () => {
    await marks(
      {
        'images|i': { target: 'a' },
        'content|blob|a': { [gc('ref.content')]: 'b' },
        'content|blob|b': { [gc('ref.content')]: 'a' },
      },
      ['image i', 'content a', 'content b'],
    )
  })
})
