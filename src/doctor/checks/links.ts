import { join } from 'node:path'

import { linkKey } from '#core/snapshots/storage/storage.ts'
import type { ReadBucket } from '#lib/bolt/database.ts'

import type { Backend } from '#doctor/backend.ts'
import type { Examination } from '#doctor/context.ts'

/** Keys in hexadecimal, and the names they lead to. */
type Links = ReadonlyMap<string, string>

/**
 * Whether a snapshotter's list of what stands on what agrees with its records. By that list it decides
 * whether a snapshot may be removed.
 */
export function checkLinks(exam: Examination, backend: Backend): void {
  if (!backend.complete) return
  const wanted = linksOf(backend)
  const found = backend.database.view(readLinks)
  const missing = Array.from(wanted).filter(([key, name]) => found.get(key) !== name)
  const extra = Array.from(found).filter(([key]) => !wanted.has(key))
  if (missing.length + extra.length === 0) return
  exam.findings.add(
    {
      kind: 'snapshot-links-wrong',
      level: 'error',
      what: `${backend.place.name} does not know of ${missing.length} snapshots what they stand on, and has ${extra.length} links too many`,
      where: join(backend.place.root, 'metadata.db'),
      details: [...missing, ...extra].slice(0, 10).map(([, name]) => name),
      consequence:
        'a layer can be removed from below others, or never, although nothing stands on it',
      advice: 'with --repair the list is made anew from the records',
    },
    {
      step: 'records',
      run: async () => {
        await writeLinks(exam, backend, wanted)
        return { repaired: true, text: `${wanted.size} links are written anew` }
      },
    },
  )
}

function linksOf({ byName }: Backend): Links {
  const links = new Map<string, string>()
  for (const { id, info } of byName.values()) {
    const parent = byName.get(info.parent)
    if (parent) links.set(hex(linkKey(BigInt(parent.id), BigInt(id))), info.name)
  }
  return links
}

function readLinks(tx: ReadBucket): Links {
  const entries = tx.bucket('v1')?.bucket('parents')?.entries() ?? []
  return new Map(
    Array.from(entries, ({ key, value }) => [hex(key), Buffer.from(value ?? []).toString()]),
  )
}

async function writeLinks(
  { signal }: Pick<Examination, 'signal'>,
  { database }: Backend,
  links: Links,
): Promise<void> {
  await database.update(
    (tx) => {
      const version = tx.createBucketIfNotExists('v1')
      if (version.bucket('parents')) version.deleteBucket('parents')
      const parents = version.createBucket('parents')
      for (const [key, name] of links) parents.put(Buffer.from(key, 'hex'), name)
    },
    { signal },
  )
}

const hex = (key: Uint8Array): string => Buffer.from(key).toString('hex')
