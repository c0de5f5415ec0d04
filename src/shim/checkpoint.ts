import { copyFileSync, rmSync, statSync } from 'node:fs'
import { basename, delimiter, join } from 'node:path'

import { fromBinary } from '@bufbuild/protobuf'

import { type CheckpointOptions, CheckpointOptionsSchema } from '#gen/types/runc-options_pb.ts'
import { describe, unimplemented } from '#lib/errors/errors.ts'

import { initPidFile, readPid, type RuntimeOptions } from './bundle.ts'
import { CommandError } from './runc/command-error.ts'
import type { Runc } from './runc/runc.ts'
import { runtimeError } from './runc/runtime-error.ts'
import type { ProcessStdio } from './stdio/stdio.ts'

/*
 * A checkpoint is a directory of CRIU's images. Making one is a command of the OCI runtime, which
 * runs criu; a task made from one is `created` like any other, and restored when it is started.
 *
 * Source: upstream `cmd/containerd-shim-runc-v2/process/init.go`.
 */

/** Which container, of what bundle and runtime. */
interface Target {
  readonly id: string
  readonly bundle: string
  readonly runc: Runc
}

type Options = { readonly typeUrl: string; readonly value: Uint8Array } | undefined

/** @throws what the OCI runtime or criu says, and where criu's log is kept: in the bundle. */
export async function checkpoint(
  { id, bundle, runc }: Target,
  path: string,
  options: Options,
): Promise<void> {
  requireCriu(runc.binary)
  const given = readOptions(options)
  const workPath = given?.workPath || join(bundle, 'work', 'criu-work')
  try {
    await runc.checkpoint(id, { ...given, imagePath: path, workPath })
  } catch (err) {
    const log = join(bundle, 'criu-dump.log')
    keepLog(join(workPath, 'dump.log'), log)
    const [said = ''] = (err instanceof CommandError ? err.message : describe(err)).split('\n')
    throw new Error(`${said} path= ${log}`, { cause: err })
  } finally {
    if (!given?.workPath) rmSync(workPath, { recursive: true, force: true })
  }
}

/** What a restore needs beyond the container. */
interface Restored extends Target {
  readonly path: string
  readonly options: RuntimeOptions
  readonly streams: ProcessStdio
}

/** Restores a container that does not exist yet, running. @returns the pid of its init. */
export async function restore(restored: Restored): Promise<number> {
  const { id, bundle, runc, path, options, streams } = restored
  try {
    await runc.restore(id, {
      imagePath: path,
      workPath: options.criuWorkPath || join(bundle, 'work'),
      bundle,
      pidFile: initPidFile(bundle),
      consoleSocket: streams.consoleSocket,
      noPivotRoot: options.noPivotRoot,
      stdio: streams.fds,
    })
  } catch (err) {
    throw runtimeError('OCI runtime restore failed', runc.log, err)
  }
  await streams.handedOver()
  const pid = readPid(initPidFile(bundle))
  if (pid === 0) throw new Error('failed to retrieve OCI runtime container pid')
  return pid
}

/**
 * Checks that checkpoints can be made and restored, as far as that can be told before.
 *
 * @throws `unimplemented` when runc would not find criu; other runtimes have it built in, or say so.
 */
export function requireCriu(binary: string): void {
  if (basename(binary) !== 'runc') return
  const found = (process.env['PATH'] ?? '')
    .split(delimiter)
    .some((dir) => statSync(join(dir || '.', 'criu'), { throwIfNoEntry: false })?.isFile())
  if (found) return
  throw unimplemented('checkpoints need the program criu, which is not in PATH: install it')
}

function readOptions(options: Options): CheckpointOptions | undefined {
  if (!options || options.value.length === 0) return undefined
  return fromBinary(CheckpointOptionsSchema, options.value)
}

/** A log that is not there says as much as one that cannot be copied. */
function keepLog(from: string, to: string): void {
  try {
    copyFileSync(from, to)
  } catch {
    // criu has not even started.
  }
}
