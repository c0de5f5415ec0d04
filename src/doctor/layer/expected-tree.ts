import { posix } from 'node:path'

import type { Entry, EntryType } from '#lib/tar/entry.ts'
import { timesOf } from '#plugins/diff/walking/attributes.ts'
import { cleanPath, dirname } from '#plugins/diff/walking/directories.ts'
import { opaqueMarker, whiteoutPrefix } from '#plugins/diff/walking/whiteouts.ts'

/** What an archive says of a file beside its content. */
export type Attributes = Pick<Entry, 'mode' | 'uid' | 'gid' | 'mtime' | 'xattrs'>

/** A file as it should be on disk. Names that are links of each other share one. */
export interface Expected {
  readonly kind: Exclude<EntryType, 'hardlink'> | 'whiteout'
  /** Undefined for a directory that no archive names: it was made for what is in it. */
  attributes: Attributes | undefined
  /** Of a directory, undefined when the last layer does not name it. */
  mtime: bigint | undefined
  readonly size: number
  readonly linkName: string
  readonly device: { readonly major: number; readonly minor: number }
  /** In a directory. */
  readonly children: Map<string, Expected>
  /** Whether a directory hides what is below it in lower layers. */
  opaque: 'no' | 'yes' | 'maybe'
  /** What is wrong with its content, as far as it was compared. */
  difference?: string | undefined
}

/** How what is deleted is kept: marked, beside lower layers, or not at all, in a tree of all layers. */
export type WhiteoutStyle = 'overlay' | 'remove'

/** A directory, and where it is below the root when all links are resolved. */
interface Place {
  readonly directory: Expected
  readonly path: string
}

/** A file that the archive's next bytes are the content of. */
export interface PlacedFile {
  readonly file: Expected
  readonly path: string
}

/** As many links as the kernel follows. */
const maxLinks = 40

/**
 * What layers make of an empty directory, as far as names and attributes go: a model of
 * `#plugins/diff/walking/extractor.ts`, and of containerd's, which is the other way to fill a snapshot.
 */
export class ExpectedTree {
  readonly root: Expected = newNode('directory')
  readonly #style: WhiteoutStyle
  /** Of the layer at hand: what it brought, what it changed, and which directories it names. */
  #brought = new Set<string>()
  readonly #changed = new Set<Expected>()
  #named = new Map<Expected, bigint>()
  /** Directories that the layer before named. */
  #namedBefore: ReadonlyMap<Expected, bigint> = new Map()

  constructor(style: WhiteoutStyle) {
    this.#style = style
  }

  /** Takes an entry. @returns the file whose content follows, if it is one. */
  add(entry: Entry): PlacedFile | undefined {
    const path = cleanPath(entry.name)
    if (path === '') return undefined
    const dir = this.#make(dirname(path))
    const name = posix.basename(path)
    if (name === opaqueMarker) this.#hide(dir)
    else if (name.startsWith(whiteoutPrefix)) this.#delete(dir, name.slice(whiteoutPrefix.length))
    else return this.#place(dir, name, entry)
    return undefined
  }

  /**
   * Ends a layer. Of directories only those that it names have times one can rely on: containerd, when
   * it copies a tree to put the next layer into it, gives directories the time of the copy.
   */
  finish(): void {
    for (const directory of this.#namedBefore.keys()) directory.mtime = this.#named.get(directory)
    for (const directory of this.#changed) directory.mtime = this.#named.get(directory)
    this.#brought = new Set()
    this.#changed.clear()
    this.#namedBefore = this.#named
    this.#named = new Map()
  }

  #place(dir: Place, name: string, entry: Entry): PlacedFile | undefined {
    const path = join(dir.path, name)
    this.#bring(path)
    if (entry.type === 'directory') {
      this.#placeDirectory(dir.directory, name, entry)
      return undefined
    }
    const file = this.#newFile(entry)
    this.#changed.add(dir.directory)
    dir.directory.children.set(name, file)
    return file.kind === 'file' && entry.type === 'file' ? { file, path } : undefined
  }

  #newFile(entry: Entry): Expected {
    if (entry.type === 'hardlink') {
      const target = this.#find(entry.linkName)
      if (target) describe(target, entry)
      return target ?? newNode('file')
    }
    const file = newNode(entry.type, entry)
    describe(file, entry)
    return file
  }

  #placeDirectory(parent: Expected, name: string, entry: Entry): void {
    const there = parent.children.get(name)
    const directory = there?.kind === 'directory' ? there : newNode('directory')
    if (directory !== there) {
      // containerd does not mark a directory that takes the place of a whiteout; what is below shows.
      if (there?.kind === 'whiteout') directory.opaque = 'maybe'
      parent.children.set(name, directory)
      this.#changed.add(parent)
    }
    describe(directory, entry)
    this.#changed.add(directory)
    this.#named.set(directory, timesOf(entry).mtime)
  }

  #delete(dir: Place, name: string): void {
    this.#changed.add(dir.directory)
    if (this.#style === 'remove') dir.directory.children.delete(name)
    else dir.directory.children.set(name, newNode('whiteout'))
  }

  #hide(dir: Place): void {
    if (this.#style === 'overlay') dir.directory.opaque = 'yes'
    else this.#clear(dir)
  }

  /** Removes what earlier layers have left in a directory. */
  #clear({ directory, path }: Place): void {
    this.#changed.add(directory)
    for (const [name, child] of directory.children) {
      const childPath = join(path, name)
      if (!this.#brought.has(childPath)) directory.children.delete(name)
      else if (child.kind === 'directory') this.#clear({ directory: child, path: childPath })
    }
  }

  #bring(path: string): void {
    for (let each = path; each !== '' && !this.#brought.has(each); each = dirname(each)) {
      this.#brought.add(each)
    }
  }

  /** The directory at `path`, following links inside the root; made, with its parents, when missing. */
  #make(path: string): Place {
    const parts = path.split('/').filter(Boolean).toReversed()
    let trail: Place[] = [{ directory: this.root, path: '' }]
    for (let links = 0; parts.length > 0; ) {
      const name = parts.pop() ?? ''
      if (name === '.') continue
      if (name === '..') {
        if (trail.length > 1) trail.pop()
        continue
      }
      const at = trail.at(-1) ?? { directory: this.root, path: '' }
      const child = at.directory.children.get(name)
      if (child?.kind === 'symlink' && links++ < maxLinks) {
        if (child.linkName.startsWith('/')) trail = trail.slice(0, 1)
        parts.push(...child.linkName.split('/').filter(Boolean).toReversed())
        continue
      }
      trail.push({ directory: this.#enter(at, name, child), path: join(at.path, name) })
    }
    return trail.at(-1) ?? { directory: this.root, path: '' }
  }

  #enter(at: Place, name: string, child: Expected | undefined): Expected {
    if (child?.kind === 'directory') return child
    const directory = newNode('directory')
    at.directory.children.set(name, directory)
    this.#changed.add(at.directory)
    this.#bring(join(at.path, name))
    return directory
  }

  /** What a hard link names: links are followed on the way to it, and not at its end. */
  #find(linkName: string): Expected | undefined {
    const path = cleanPath(linkName)
    return this.#make(dirname(path)).directory.children.get(posix.basename(path))
  }
}

/** What an entry says replaces what an earlier one did, but for extended attributes: they add up. */
function describe(file: Expected, entry: Entry): void {
  const { mode, uid, gid, mtime } = entry
  const before = file.attributes?.xattrs
  const xattrs = before ? new Map([...before, ...entry.xattrs]) : entry.xattrs
  file.attributes = { mode, uid, gid, mtime, xattrs }
  file.mtime = timesOf(entry).mtime
}

function newNode(kind: Expected['kind'], entry?: Entry): Expected {
  return {
    kind,
    attributes: undefined,
    mtime: undefined,
    size: entry?.size ?? 0,
    linkName: entry?.linkName ?? '',
    device: { major: entry?.major ?? 0, minor: entry?.minor ?? 0 },
    children: new Map(),
    opaque: 'no',
  }
}

const join = (path: string, name: string): string => (path === '' ? name : `${path}/${name}`)
