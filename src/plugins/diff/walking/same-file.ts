import { closeSync, readSync } from 'node:fs'

import { isDirectory, isSymlink } from './file-kind.ts'
import { capabilityOf, type Node, openFile, readLink } from './tree.ts'

const second = 1_000_000_000n

/**
 * Whether a file is as it was. Times that both have no fraction say nothing, since archives cut it
 * off: then content decides. Source: upstream `continuity/fs`, `sameFile`.
 *
 * @throws {SystemError}
 */
export function isSameFile(a: Node, b: Node): boolean {
  const sameDevice = a.stat.dev.major === b.stat.dev.major && a.stat.dev.minor === b.stat.dev.minor
  if (sameDevice && a.stat.ino === b.stat.ino) return true
  if (!sameAttributes(a, b)) return false
  if (isDirectory(a.stat)) return true
  if (a.stat.size !== b.stat.size) return false
  if (a.stat.mtime / second !== b.stat.mtime / second) return false
  const [fractionA, fractionB] = [a.stat.mtime % second, b.stat.mtime % second]
  if (fractionA !== 0n || fractionB !== 0n) return fractionA === fractionB
  if (isSymlink(a.stat)) return readLink(a) === readLink(b)
  return a.stat.size === 0 || sameContent(a, b)
}

function sameAttributes(a: Node, b: Node): boolean {
  const same =
    a.stat.mode === b.stat.mode &&
    a.stat.uid === b.stat.uid &&
    a.stat.gid === b.stat.gid &&
    a.stat.rdev.major === b.stat.rdev.major &&
    a.stat.rdev.minor === b.stat.rdev.minor
  if (!same) return false
  return Buffer.compare(capabilityOf(a) ?? nothing, capabilityOf(b) ?? nothing) === 0
}

const nothing = new Uint8Array()
const pieceSize = 128 * 1024

function sameContent(a: Node, b: Node): boolean {
  using stack = new DisposableStack()
  const fdA = stack.adopt(openFile(a), closeSync)
  const fdB = stack.adopt(openFile(b), closeSync)
  const [pieceA, pieceB] = [Buffer.allocUnsafe(pieceSize), Buffer.allocUnsafe(pieceSize)]
  for (;;) {
    const lengthA = readFully(fdA, pieceA)
    const lengthB = readFully(fdB, pieceB)
    if (lengthA !== lengthB) return false
    if (pieceA.compare(pieceB, 0, lengthB, 0, lengthA) !== 0) return false
    if (lengthA < pieceSize) return true
  }
}

function readFully(fd: number, into: Buffer): number {
  let at = 0
  while (at < into.length) {
    const length = readSync(fd, into, at, into.length - at, null)
    if (length === 0) break
    at += length
  }
  return at
}
