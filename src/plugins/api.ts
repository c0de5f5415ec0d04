/*
 * What plugins of others are made with: the module `wharfd/plugin`. A daemon that loads a plugin
 * gives it this module as the daemon itself has it, so that types and errors are the same ones.
 */

export {
  definePlugin,
  type Each,
  each,
  type Init,
  type Instances,
  type Meta,
  type One,
  one,
  type Own,
  own,
  type Plugin,
  type PluginSpec,
  type PluginType,
  pluginType,
  SkipPlugin,
} from '#plugin/plugin.ts'
export {
  ApiPlugin,
  type ApiService,
  AuditPlugin,
  type CallObserver,
  ContainerMonitorPlugin,
  ContainersService,
  ContentPlugin,
  ContentService,
  DiffPlugin,
  DiffService,
  EventPlugin,
  GcPlugin,
  ImagesService,
  ImageVerifierPlugin,
  InternalPlugin,
  LeasePlugin,
  MetadataPlugin,
  MetricsPlugin,
  MountHandlerPlugin,
  MountManagerPlugin,
  NamespacesService,
  type RpcContext,
  RuntimePlugin,
  SandboxControllerPlugin,
  SandboxStorePlugin,
  type Server,
  ServerPlugin,
  SnapshotPlugin,
  SnapshotsService,
  StreamingPlugin,
  TaskMonitorPlugin,
  TasksService,
  type TracingProcessor,
  TracingProcessorPlugin,
  TransferPlugin,
  WarningPlugin,
} from '#plugins/types.ts'
export {
  alreadyExists,
  CodedError,
  codeOf,
  type ErrorCode,
  failedPrecondition,
  hasCode,
  invalidArgument,
  notFound,
  resourceExhausted,
  unavailable,
  unimplemented,
} from '#lib/errors/errors.ts'

export type { Any } from '#core/any/any.ts'
export type { ContainerStore } from '#core/containers/containers.ts'
export type * as content from '#core/content/content.ts'
export type { Context, Fields, Logger } from '#core/context.ts'
export type { ApplyOptions, CompareOptions, Differ } from '#core/diff/diff.ts'
export type { Envelope, Exchange, Publisher } from '#core/events/events.ts'
export type { Descriptor, Image, ImageStore } from '#core/images/images.ts'
export type { Candidate, ImageVerifier, Judgement } from '#core/verification/verification.ts'
export type * as transfer from '#core/transfer/transfer.ts'
export type { LeaseManager } from '#core/leases/leases.ts'
export type { Metadata } from '#core/metadata/metadata.ts'
export type {
  ActiveMount,
  LocalMountManager,
  MountHandler,
  MountManager,
} from '#core/mount/manager.ts'
export type { Mount } from '#core/mount/mount.ts'
export type { Task, TaskManager } from '#core/runtime/runtime.ts'
export type { Sandbox, SandboxController } from '#core/sandbox/controller.ts'
export type { SandboxStore } from '#core/sandbox/store.ts'
export type * as snapshots from '#core/snapshots/snapshotter.ts'
export type { Snapshotter } from '#core/snapshots/snapshotter.ts'
export type { Warnings } from '#core/warnings/warnings.ts'
