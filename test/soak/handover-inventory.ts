import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

import { hasErrno } from '#lib/fs/has-errno.ts'

import type { Estate, Ledger } from './handover-estate.ts'

/** Compares what the daemon has with what the clients of `namespace` were told, and uses it. */
export async function checkEverything(estate: Estate, namespace: string): Promise<void> {
  const ledger = estate.ledger(namespace)
  checkBlobs(estate)
  await checkImages(estate, namespace, ledger)
  await checkContainers(estate, namespace, ledger)
  await checkTasks(estate, namespace, ledger)
  await checkSnapshots(estate, namespace, ledger)
  const leases = words(await estate.ctr(namespace, 'leases', 'ls', '-q'))
  for (const lease of ledger.leases) assert.ok(leases.includes(lease), `lease ${lease}`)
}

const words = (text: string): string[] => text.split(/\s+/).filter(Boolean)
/** The cells of each row below the head. */
const rows = (text: string): string[][] =>
  text
    .split('\n')
    .slice(1)
    .map(words)
    .filter((row) => row.length > 0)

/** Whoever wrote a blob, it is what its name says. */
function checkBlobs(estate: Estate): void {
  if (!existsSync(estate.blobs)) return
  for (const name of readdirSync(estate.blobs)) {
    const bytes = readUnlessCollected(join(estate.blobs, name))
    if (bytes) assert.equal(createHash('sha256').update(bytes).digest('hex'), name)
  }
}

/** What is gone since it was listed was garbage: `image check` says what must be there. */
function readUnlessCollected(path: string): Uint8Array | undefined {
  try {
    return readFileSync(path)
  } catch (err) {
    if (hasErrno(err, 'ENOENT')) return undefined
    throw err
  }
}

async function checkImages(estate: Estate, namespace: string, ledger: Ledger): Promise<void> {
  const listed = words(await estate.ctr(namespace, 'image', 'ls', '-q'))
  assert.deepEqual(listed.toSorted(), [...ledger.images.keys()].toSorted())
  for (const row of rows(await estate.ctr(namespace, 'image', 'check'))) {
    const text = row.join(' ')
    assert.match(text, / complete \((\d+)\/\1\) .* true$/, text)
  }
  for (const { source, command, says } of ledger.images.values()) {
    const id = `look-${ledger.next++}`
    const shell = [source.name, id, 'sh', '-c', command]
    assert.equal(await estate.hear(namespace, ['run', '--rm'], shell), says)
  }
}

async function checkContainers(estate: Estate, namespace: string, ledger: Ledger): Promise<void> {
  const listed = words(await estate.ctr(namespace, 'container', 'ls', '-q'))
  assert.deepEqual(listed.toSorted(), [...ledger.containers.keys()].toSorted())
  for (const [id, { image, mark }] of ledger.containers) {
    const info: unknown = JSON.parse(await estate.ctr(namespace, 'container', 'info', id))
    assert.partialDeepStrictEqual(info, { ID: id, Image: image, Labels: { mark } })
  }
}

async function checkTasks(estate: Estate, namespace: string, ledger: Ledger): Promise<void> {
  const listed = rows(await estate.ctr(namespace, 'task', 'ls'))
  const expected = [...ledger.tasks].map(([id, { pid, status }]) => [id, pid, status])
  assert.deepEqual(new Set(listed.map(String)), new Set(expected.map(String)))
  for (const [id, { status }] of ledger.tasks) {
    if (status !== 'RUNNING') continue
    const exec = ['task', 'exec', '--exec-id', `look-${ledger.next++}`]
    assert.equal(await estate.hear(namespace, exec, [id, 'cat', '/mark']), `${id}\n`)
  }
}

async function checkSnapshots(estate: Estate, namespace: string, ledger: Ledger): Promise<void> {
  const listed = rows(await estate.ctr(namespace, 'snapshot', 'ls'))
  for (const [key, { parent, kind }] of ledger.snapshots) {
    const row = listed.find(([name]) => name === key)
    assert.deepEqual(row, [key, parent, kind].filter(Boolean))
    if (kind !== 'Committed') await estate.ctr(namespace, 'snapshot', 'mounts', '/mnt', key)
    assert.match(await estate.ctr(namespace, 'snapshot', 'usage', key), new RegExp(key))
  }
}
