import { fromBinary } from '@bufbuild/protobuf'

import { TaskCreateSchema } from '#gen/events/task_pb.ts'
import { OptionsSchema } from '#gen/types/runc-options_pb.ts'
import type { Logger } from '#core/context.ts'
import { span } from '#core/trace.ts'
import type { Mount } from '#sys/mount.ts'

import {
  type RuntimeOptions,
  defaultOptions,
  initPidFile,
  readPid,
  writeOptions,
} from './bundle.ts'
import { removeByHand } from './by-hand.ts'
import { requireCriu, restore } from './checkpoint.ts'
import { Container, type HostServices } from './container.ts'
import { InitProcess } from './init-process.ts'
import { patienceUntil } from './patience.ts'
import { CommandTimeout } from './runc/command-error.ts'
import { type Runc, openRunc } from './runc/runc.ts'
import { runtimeError } from './runc/runtime-error.ts'
import { openStdio } from './stdio/open.ts'
import type { ProcessOwner, ProcessStdio, StdioPaths, StreamOwner } from './stdio/stdio.ts'
import type { Work } from './work.ts'

/** What `Create` of the Task service asks for. */
export interface CreateRequest extends StdioPaths {
  readonly id: string
  readonly bundle: string
  readonly rootfs: readonly Mount[]
  readonly checkpoint: string
  readonly options?: { readonly typeUrl: string; readonly value: Uint8Array } | undefined
}

/**
 * Has the OCI runtime create a container, which is then ready to start; one that is made from a
 * checkpoint waits for its start with that. What fails half-way is undone.
 *
 * @throws what the OCI runtime says; `unimplemented` for a checkpoint without criu.
 */
export async function createContainer(
  request: CreateRequest,
  services: HostServices,
  work: Work,
): Promise<Container> {
  const { id, checkpoint: path, bundle, terminal, stdin, stdout, stderr } = request
  const stdio = { terminal, stdin, stdout, stderr }
  const options = readRequestOptions(request.options, services.env)
  writeOptions(bundle, options)
  const runc = openRunc(bundle, services.namespace, options)

  const patience = patienceUntil(work.deadline)
  await using undo = new AsyncDisposableStack()
  const rootfs = await span(work, 'mount', async () => {
    return await services.rootfs.mount(id, bundle, request.rootfs, patience)
  })
  undo.defer(() => rootfs.release())
  const streams = undo.use(
    await openStreams(
      stdio,
      { id, namespace: services.namespace, ...toOwner(options) },
      services.log.with({ id }),
    ),
  )
  const creation = { id, bundle, options, streams, signal: patience }
  if (path === '') {
    await span(work, 'runc create', async () => await runCreate(runc, creation))
    undo.defer(async () => {
      await runc.delete(id, { force: true, signal: patienceUntil(undefined) })
    })
    await streams.handedOver()
  } else requireCriu(runc.binary)
  // The runtime was let finish; what nobody wants any more is undone.
  work.signal.throwIfAborted()
  const pid = path === '' ? readPid(initPidFile(bundle)) : 0
  if (pid === 0 && path === '') throw new Error('failed to retrieve OCI runtime container pid')
  undo.move()

  publishCreate(services, request, pid)
  const restored = { ...creation, runc, path }
  const parts = { id, bundle, pid, runc, stdio, streams }
  const init = new InitProcess(
    path === '' ? parts : { ...parts, restore: async () => await restore(restored) },
  )
  return new Container({ id, bundle, rootfs, runc, init, streamOwner: toOwner(options) }, services)
}

/** Options of another type are somebody else's, and mean nothing here. */
function readRequestOptions(
  options: CreateRequest['options'],
  env: NodeJS.ProcessEnv,
): RuntimeOptions {
  const defaults = defaultOptions(env)
  if (options?.typeUrl.split('/').at(-1) !== OptionsSchema.typeName) return defaults
  const given = fromBinary(OptionsSchema, options.value)
  return {
    noPivotRoot: given.noPivotRoot,
    noNewKeyring: given.noNewKeyring,
    binaryName: given.binaryName,
    root: given.root || defaults.root,
    systemdCgroup: given.systemdCgroup,
    ioUid: given.ioUid,
    ioGid: given.ioGid,
    criuImagePath: given.criuImagePath,
    criuWorkPath: given.criuWorkPath,
    shimCgroup: given.shimCgroup,
  }
}

const toOwner = ({ ioUid, ioGid }: RuntimeOptions): StreamOwner => ({ uid: ioUid, gid: ioGid })

async function openStreams(
  stdio: StdioPaths,
  owner: ProcessOwner,
  log: Logger,
): Promise<ProcessStdio> {
  try {
    return await openStdio(stdio, owner, log)
  } catch (err) {
    throw new Error('failed to create init process I/O', { cause: err })
  }
}

interface RunCreate {
  readonly id: string
  readonly bundle: string
  readonly options: RuntimeOptions
  readonly streams: ProcessStdio
  readonly signal: AbortSignal
}

async function runCreate(runc: Runc, request: RunCreate): Promise<void> {
  const { id, bundle, options, streams, signal } = request
  try {
    await runc.create(id, {
      bundle,
      pidFile: initPidFile(bundle),
      consoleSocket: streams.consoleSocket,
      noPivotRoot: options.noPivotRoot,
      noNewKeyring: options.noNewKeyring,
      stdio: streams.fds,
      signal,
    })
  } catch (err) {
    if (err instanceof CommandTimeout) await removeByHand(bundle, runc.stateOf(id))
    throw runtimeError('OCI runtime create failed', runc.log, err)
  }
}

function publishCreate(services: HostServices, request: CreateRequest, pid: number): void {
  const { id, bundle, rootfs, checkpoint, stdin, stdout, stderr, terminal } = request
  services.events.publish('/tasks/create', TaskCreateSchema, {
    containerId: id,
    bundle,
    rootfs: rootfs.map(({ type, source, target = '', options }) => ({
      type,
      source,
      target,
      options: [...options],
    })),
    io: { stdin, stdout, stderr, terminal },
    checkpoint,
    pid,
  })
}
