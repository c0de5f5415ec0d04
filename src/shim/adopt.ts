import { existsSync } from 'node:fs'
import { join } from 'node:path'

import { describe } from '#lib/errors/errors.ts'
import { lives } from '#sys/process-end.ts'

import { type FoundBundle, bundlesOf } from './bundles.ts'
import { readOptions } from './bundle.ts'
import { Container, type HostServices } from './container.ts'
import { awaitRuntimes } from './half-made.ts'
import { InitProcess } from './init-process.ts'
import type { ProcessStatus } from './process.ts'
import { type ContainerRecord, readRecord, toExit } from './record.ts'
import { finishStart } from './runc/direct.ts'
import { openRunc } from './runc/runc.ts'
import { adoptStdio } from './stdio/adopt-stdio.ts'

/**
 * Goes on with the containers of a host that was killed: those whose bundles, next to each other in
 * `dir`, name the socket that is this one's now, and whose init lives or has been seen ending.
 *
 * A container whose init ended while nobody looked is left to the `delete` command.
 */
export async function adoptContainers(
  dir: string,
  socket: string,
  services: HostServices,
): Promise<Container[]> {
  const found = bundlesOf(dir, socket).flatMap((bundle) => {
    const record = recordIn(bundle, services)
    return record && isComplete(record) ? [{ bundle, record }] : []
  })
  if (found.length === 0) return []
  // What a runtime is just doing to one of them is not known before it has ended.
  await awaitRuntimes(found.map(({ bundle }) => bundle.path))
  return await Promise.all(
    found.map(async ({ bundle, record }) => await adopt(bundle, record, services)),
  )
}

function recordIn({ id, path }: FoundBundle, { log }: HostServices): ContainerRecord | undefined {
  try {
    return readRecord(path)
  } catch (err) {
    log.error('cannot read the record of a container', { id, error: describe(err) })
    return undefined
  }
}

const isComplete = ({ init: { exit, identity } }: ContainerRecord): boolean =>
  exit !== undefined || (identity !== undefined && lives(identity))

async function adopt(
  { id, path }: FoundBundle,
  record: ContainerRecord,
  services: HostServices,
): Promise<Container> {
  const options = readOptions(path, services.env)
  const runc = openRunc(path, services.namespace, options)
  const { stdio, stdinClosed, pipes, identity } = record.init
  const exit = toExit(record.init)
  const state = runc.stateOf(id)
  finishStart(runc.binary, state, record.init.identity)
  const isCreated = existsSync(join(state, 'exec.fifo'))
  const streamOwner = { uid: options.ioUid, gid: options.ioGid }
  const pid = identity?.pid ?? 0
  const found = { paths: stdio, stdinClosed, pipes, pid, ended: exit !== undefined }
  const owner = { id, namespace: services.namespace, ...streamOwner }
  const init = new InitProcess({
    id,
    bundle: path,
    pid,
    runc,
    stdio,
    streams: await adoptStdio(path, found, owner, services.log.with({ id })),
    found: { status: statusOf(record, isCreated), exit, stdinClosed },
  })
  const rootfs = services.rootfs.adopt(id, path)
  const parts = { id, bundle: path, rootfs, runc, init, streamOwner, adopted: true }
  const container = new Container(parts, services)
  for (const exec of record.execs) await container.adoptExec(exec)
  container.record()
  services.log.info('container adopted', { id, pid: init.pid, status: init.status })
  return container
}

/** A runtime keeps this FIFO from creation to start. */
function statusOf({ init, paused }: ContainerRecord, isCreated: boolean): ProcessStatus {
  if (init.exit) return 'stopped'
  if (isCreated) return 'created'
  return paused ? 'paused' : 'running'
}
