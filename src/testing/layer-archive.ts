import { encodeHeader, endOfArchive, type EntryToWrite, paddingOf } from '#lib/tar/writer.ts'

/** An entry of a layer, with its content. */
export type Part = EntryToWrite & { readonly content?: string | Uint8Array }

/** An archive of these entries, and of nothing else: no directory is added for what is in it. */
export const archive = (...parts: readonly Part[]): Buffer =>
  Buffer.concat([...parts.map(entryBytes), endOfArchive])

/** One entry: its header, its content, and zeros up to a whole block. */
export function entryBytes({ content = '', ...entry }: Part): Buffer {
  const bytes = Buffer.from(content)
  const header = encodeHeader({ size: bytes.length, ...entry })
  return Buffer.concat([header, bytes, new Uint8Array(paddingOf(bytes.length))])
}

export const file = (name: string, content = '', more: Partial<Part> = {}): Part => ({
  type: 'file',
  name,
  mode: 0o644,
  content,
  ...more,
})
export const dir = (name: string, more: Partial<Part> = {}): Part => ({
  type: 'directory',
  name,
  mode: 0o755,
  ...more,
})
export const link = (name: string, linkName: string): Part => ({
  type: 'symlink',
  name,
  mode: 0o777,
  linkName,
})
export const hard = (name: string, linkName: string): Part => ({
  type: 'hardlink',
  name,
  mode: 0o644,
  linkName,
})
