import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { digestOf } from '#lib/digest/digest.ts'
import { removeTree } from '#lib/fs/remove-tree.ts'
import { ingestDir, ingestPathsIn } from '#plugins/content/local/layout.ts'

import type { Examination } from '#doctor/context.ts'
import { listDirectory } from '#doctor/files.ts'

/** Uploads on disk against their records, both ways. */
export async function checkIngests(exam: Examination): Promise<void> {
  const dir = ingestDir(exam.places.content)
  const names = new Set(await listDirectory(dir))
  if (exam.catalog.complete) {
    const recorded = exam.catalog.namespaces.flatMap(({ ingests }) => ingests)
    const known = new Set(recorded.map(({ name }) => directoryName(name)))
    for (const name of names) if (!known.has(name)) await leftover(exam, join(dir, name))
  }
  for (const { name: namespace, ingests } of exam.catalog.namespaces) {
    for (const { ref, name, shared } of ingests) {
      // One of a blob that is shared has nothing on disk.
      if (shared === '' && !names.has(directoryName(name))) missing(exam, namespace, ref)
    }
  }
}

/** As `ingestPaths` has it. */
const directoryName = (name: string): string => digestOf(name).slice('sha256:'.length)

async function leftover(exam: Examination, path: string): Promise<void> {
  const ref = await readFile(ingestPathsIn(path).ref, 'utf8').catch(() => '')
  exam.findings.add(
    {
      kind: 'ingest-left',
      level: 'warning',
      what: ref === '' ? 'an upload without a name was left' : `upload ${ref} has no record`,
      where: path,
      consequence: 'nobody can go on with it, and it takes up space',
      advice: 'with --repair it is removed',
    },
    {
      step: 'leftovers',
      run: async () => {
        await removeTree(path, exam)
        return { repaired: true, text: 'removed' }
      },
    },
  )
}

function missing({ findings, places }: Examination, namespace: string, ref: string): void {
  findings.add({
    kind: 'ingest-missing',
    level: 'note',
    what: `upload ${ref} is recorded and has nothing on disk`,
    where: `${places.metadata}: ${namespace}/content/ingests/${ref}`,
    namespace,
    consequence: 'none: whoever goes on with it begins at its start',
    advice: 'nothing: a collection removes the record when it has expired',
  })
}
