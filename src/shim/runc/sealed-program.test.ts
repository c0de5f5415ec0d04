import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  mkdtempDisposableSync,
  readlinkSync,
  renameSync,
  writeFileSync,
} from 'node:fs'
import { closeSync, openSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'

import { isSealed } from '#sys/memfd.ts'

import { SealedPrograms } from './sealed-program.ts'

const fdOf = (program: string | undefined): number => Number(program?.split('/').at(-1) ?? 'NaN')

const says = (program: string | undefined, word: string): string =>
  spawnSync(program ?? '', [word], { argv0: 'echo', encoding: 'utf8' }).stdout

test('a runtime runs from a copy that nobody can write to', async () => {
  using dir = mkdtempDisposableSync(join(tmpdir(), 'wharf-sealed-'))
  using programs = new SealedPrograms()
  copyFileSync('/usr/bin/busybox', join(dir.path, 'runc'))
  const program = await programs.find('runc', `/no/such:${dir.path}`)
  assert.equal(says(program, 'hello'), 'hello\n')
  assert.ok(isSealed(fdOf(program)))
  const writer = openSync(program ?? '', 'r+')
  assert.throws(() => writeSync(writer, 'x'), { code: 'EPERM' })
  closeSync(writer)
  assert.equal(await programs.find(join(dir.path, 'runc')), program)
})

test('a runtime that was replaced is copied again, and the old copy let go', async () => {
  using dir = mkdtempDisposableSync(join(tmpdir(), 'wharf-sealed-'))
  using programs = new SealedPrograms()
  const file = join(dir.path, 'crun')
  copyFileSync('/usr/bin/busybox', file)
  const before = await programs.find(file)
  copyFileSync('/usr/bin/true', join(dir.path, 'next'))
  renameSync(join(dir.path, 'next'), file)
  const after = await programs.find(file)
  assert.equal(says(after, 'hello'), '')
  await turn()
  await turn()
  assert.ok(before === after || !isSealed(fdOf(before)))
})

test('what is no runtime that looks for it, or is a script, runs as it is', async () => {
  using dir = mkdtempDisposableSync(join(tmpdir(), 'wharf-sealed-'))
  using programs = new SealedPrograms()
  writeFileSync(join(dir.path, 'runc'), '#!/bin/sh\n', { mode: 0o755 })
  assert.equal(await programs.find('runc', dir.path), undefined)
  assert.equal(await programs.find('runsc', dir.path), undefined)
  assert.equal(await programs.find(readlinkSync('/proc/self/exe')), undefined)
})
