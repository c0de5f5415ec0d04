import { create, toBinary } from '@bufbuild/protobuf'
import { join } from 'node:path'

import { DeleteResponseSchema } from '#gen/shim/task-v3_pb.ts'
import { describe, invalidArgument } from '#lib/errors/errors.ts'

import { removeByHand } from './by-hand.ts'
import { initPidFile, readOptions, readPid } from './bundle.ts'
import type { ShimFlags } from './flags.ts'
import { endRuntimes, removeEmptyCgroups } from './half-made.ts'
import { releaseRootfs } from './rootfs.ts'
import { type Runc, openRunc } from './runc/runc.ts'
import { toTimestamp } from './timestamp.ts'

/** How long the runtime may take, of the five seconds that a daemon gives to this command, ms. */
const runtimeMs = 2_500

/** How the processes of a container end here: by SIGKILL. */
const killedStatus = 128 + 9

/**
 * The `delete` command: ends and removes the container of a bundle when its host cannot be asked.
 * What goes wrong is told on stderr and otherwise ignored: the daemon removes the bundle anyway.
 *
 * @returns a serialised `DeleteResponse`.
 */
export async function deleteContainer(flags: ShimFlags): Promise<Uint8Array> {
  const { id, namespace } = flags
  if (!id || !namespace) throw invalidArgument('shim id and namespace are required')
  const bundle = flags.bundle || process.cwd()
  const runc = openRunc(bundle, namespace, readOptions(bundle, process.env))
  await attempt(async () => await endRuntimes(bundle))
  await attempt(async () => await removeContainer(runc, id, bundle))
  await attempt(async () => await removeEmptyCgroups(bundle))
  await attempt(async () => await releaseRootfs(join(bundle, 'rootfs')))
  const response = create(DeleteResponseSchema, {
    pid: readPid(initPidFile(bundle)),
    exitStatus: killedStatus,
    exitedAt: toTimestamp(new Date()),
  })
  return toBinary(DeleteResponseSchema, response)
}

/** With the runtime, or without it if it hangs or fails. */
async function removeContainer(runc: Runc, id: string, bundle: string): Promise<void> {
  try {
    await runc.delete(id, { force: true, signal: AbortSignal.timeout(runtimeMs) })
  } catch (err) {
    await removeByHand(bundle, runc.stateOf(id))
    throw err
  }
}

async function attempt(step: () => Promise<void>): Promise<void> {
  try {
    await step()
  } catch (err) {
    process.stderr.write(`${describe(err)}\n`)
  }
}
