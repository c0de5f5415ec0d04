import { stat } from 'node:fs/promises'
import { join } from 'node:path'

import { algorithms, digestFault, parseDigest } from '#lib/digest/digest.ts'
import { describe } from '#lib/errors/errors.ts'
import { blobPath, blobsDir } from '#plugins/content/local/layout.ts'

import type { Namespace } from '#doctor/catalog.ts'
import type { Examination } from '#doctor/context.ts'
import { listDirectory } from '#doctor/files.ts'
import type { Part } from '#doctor/image-graph.ts'
import { forgetBlob, recordPart, resizeRecord, setAside } from '#doctor/repair/blobs.ts'
import { fetchCommands, listed } from '#doctor/words.ts'

/** A file of the content store. */
export interface Blob {
  readonly digest: string
  readonly path: string
  readonly size: number
}

/**
 * Every blob against its digest and its records, and every record against the blobs.
 *
 * @returns those that are there, by digest.
 */
export async function checkBlobs(exam: Examination): Promise<ReadonlyMap<string, Blob>> {
  const blobs = await listBlobs(exam)
  exam.counts.blobs = blobs.size
  checkRecords(exam, blobs)
  if (!exam.quick) await readAll(exam, blobs)
  // Of a file that is damaged the size says nothing more.
  for (const blob of blobs.values()) if (!exam.damaged.has(blob.digest)) checkSize(exam, blob)
  const needed = Map.groupBy(exam.images.parts, ({ descriptor }) => descriptor.digest)
  for (const blob of blobs.values()) checkHolders(exam, blob, needed.get(blob.digest) ?? [])
  return blobs
}

async function listBlobs(exam: Examination): Promise<ReadonlyMap<string, Blob>> {
  const blobs = new Map<string, Blob>()
  for (const algorithm of algorithms) {
    const dir = join(blobsDir(exam.places.content), algorithm)
    for (const name of await listDirectory(dir)) {
      exam.signal.throwIfAborted()
      const digest = `${algorithm}:${name}`
      const path = join(dir, name)
      const found = await stat(path)
      if (digestFault(digest) === undefined && found.isFile()) {
        blobs.set(digest, { digest, path, size: found.size })
      } else misnamed(exam, path)
    }
  }
  return blobs
}

function misnamed(exam: Examination, path: string): void {
  exam.findings.add(
    {
      kind: 'blob-misnamed',
      level: 'warning',
      what: 'a file among the blobs has a name that is no digest',
      where: path,
      consequence: 'nobody can ask for it, and it takes up space',
      advice: 'look at what it is; --repair moves it to lost+found',
    },
    {
      step: 'blobs',
      run: async () => ({
        repaired: true,
        text: `moved to ${await setAside(exam.places, path)}`,
      }),
    },
  )
}

/** A record's size is what clients are told, and what a pull relies on. */
function checkSize(exam: Examination, blob: Blob): void {
  for (const namespace of exam.catalog.namespaces) {
    const record = namespace.blobs.get(blob.digest)
    if (!record || record.size === blob.size) continue
    const isWhole = async (): Promise<boolean> => {
      const { algorithm } = parseDigest(blob.digest)
      const hashed = await exam.crew.run<'hash'>(
        { kind: 'hash', path: blob.path, algorithm },
        exam.signal,
      )
      return hashed.digest === blob.digest
    }
    exam.findings.add(
      {
        kind: 'blob-size-wrong',
        level: 'error',
        what: `blob ${blob.digest} has ${blob.size} bytes on disk and ${record.size} by its record`,
        where: blob.path,
        namespace: namespace.name,
        consequence: 'clients read too little of it, or past its end',
        advice: 'with --repair its record gets the size of the file, if its digest is right',
      },
      {
        step: 'records',
        run: async () => {
          if (!(await isWhole()))
            return { repaired: false, text: 'the file is damaged, not the record' }
          await resizeRecord(exam, namespace.name, blob)
          return { repaired: true, text: `the record says ${blob.size} bytes now` }
        },
      },
    )
  }
}

/** A record without a file keeps a pull from fetching it: the daemon believes it is there. */
function checkRecords(exam: Examination, blobs: ReadonlyMap<string, Blob>): void {
  for (const namespace of exam.catalog.namespaces) {
    for (const digest of namespace.blobs.keys()) {
      if (blobs.has(digest)) continue
      exam.findings.add(
        {
          kind: 'blob-missing',
          level: 'error',
          what: `blob ${digest} is recorded and its file is gone`,
          where: pathOf(exam, digest),
          namespace: namespace.name,
          consequence: `reading it fails, and a pull takes it to be there${imagesOf(exam, digest)}`,
          advice: 'with --repair its record goes, so that a pull fetches it again',
        },
        {
          step: 'records',
          run: async () => {
            await forgetBlob(exam, [namespace.name], digest)
            return { repaired: true, text: 'its record is gone; a pull fetches it again' }
          },
        },
      )
    }
  }
}

async function readAll(exam: Examination, blobs: ReadonlyMap<string, Blob>): Promise<void> {
  const total = blobs.values().reduce((sum, { size }) => sum + size, 0)
  exam.onStage('reading blobs', total)
  await exam.crew.each(blobs.values(), exam.signal, async (blob, signal) => {
    const { algorithm } = parseDigest(blob.digest)
    try {
      const job = { kind: 'hash', path: blob.path, algorithm } as const
      const { digest, size } = await exam.crew.run<'hash'>(job, signal)
      exam.counts.blobBytes += size
      if (digest !== blob.digest) damaged(exam, blob, `its bytes are of ${digest}`)
    } catch (err) {
      signal.throwIfAborted()
      damaged(exam, blob, `it cannot be read: ${describe(err)}`)
    }
  })
}

function damaged(exam: Examination, blob: Blob, why: string): void {
  exam.damaged.add(blob.digest)
  const holders = exam.catalog.namespaces.filter(({ blobs }) => blobs.has(blob.digest))
  const images = partsOf(exam, blob.digest)
  exam.findings.add(
    {
      kind: 'blob-damaged',
      level: 'error',
      what: `blob ${blob.digest} is damaged: ${why}`,
      where: blob.path,
      consequence: `it cannot be unpacked, exported or pushed${imagesOf(exam, blob.digest)}`,
      advice:
        'with --repair it moves to lost+found and its records go, so that it can be fetched again' +
        (images.length > 0 ? `: ${fetchCommands(images)}` : ''),
    },
    {
      step: 'blobs',
      run: async () => {
        await forgetBlob(
          exam,
          holders.map(({ name }) => name),
          blob.digest,
        )
        const text = `moved to ${await setAside(exam.places, blob.path)}`
        if (images.length === 0) return { repaired: true, text }
        return { repaired: false, text: `${text}; now fetch it again: ${fetchCommands(images)}` }
      },
    },
  )
}

/** A blob must be in each namespace that needs it, and in one at all. */
function checkHolders(exam: Examination, blob: Blob, parts: readonly Part[]): void {
  if (exam.damaged.has(blob.digest) || !exam.catalog.complete) return
  const without = exam.catalog.namespaces.filter(
    ({ name, blobs }) =>
      !blobs.has(blob.digest) && parts.some(({ namespace }) => namespace === name),
  )
  for (const namespace of without) unrecordedPart(exam, blob, namespace, parts)
  const held = exam.catalog.namespaces.some(({ blobs }) => blobs.has(blob.digest))
  if (held || without.length > 0) return
  exam.findings.add({
    kind: 'blob-unrecorded',
    level: 'note',
    what: `blob ${blob.digest} (${blob.size} bytes) is in no namespace, and no image needs it`,
    where: blob.path,
    consequence: 'it takes up space until then',
    advice: 'nothing: the first collection of a daemon on this root removes it',
  })
}

function unrecordedPart(
  exam: Examination,
  blob: Blob,
  namespace: Namespace,
  parts: readonly Part[],
): void {
  const own = parts.filter((part) => part.namespace === namespace.name)
  const [part] = own
  if (!part) return
  const names = own.map(({ image }) => image)
  exam.findings.add(
    {
      kind: 'blob-lost',
      level: 'error',
      what: `blob ${blob.digest} is needed by ${listed(names)} and has no record there`,
      where: blob.path,
      namespace: namespace.name,
      consequence: 'the image cannot be unpacked or exported, and a collection removes the blob',
      advice: 'with --repair it gets a record, if its digest is right',
    },
    {
      step: 'records',
      run: async () => {
        const { algorithm } = parseDigest(blob.digest)
        const job = { kind: 'hash', path: blob.path, algorithm } as const
        const { digest, size } = await exam.crew.run<'hash'>(job, exam.signal)
        if (digest !== blob.digest)
          return { repaired: false, text: 'its bytes are of another digest' }
        await recordPart(exam, part, size)
        return { repaired: true, text: `it is recorded in ${namespace.name} again` }
      },
    },
  )
}

const pathOf = ({ places }: Examination, digest: string): string =>
  digestFault(digest) === undefined ? blobPath(places.content, digest, 'doctor') : digest

const partsOf = ({ images }: Examination, digest: string): readonly Part[] =>
  images.parts.filter(({ descriptor }) => descriptor.digest === digest)

const imagesOf = (exam: Examination, digest: string): string => {
  const names = partsOf(exam, digest).map(({ image }) => image)
  return names.length > 0 ? `; it is part of ${listed(names)}` : ''
}
