/* What programs use a daemon with: the module `wharfd/client`. */

export type { Envelope, Followed, From } from '#core/events/events.ts'

export { dockerCredentials } from '#core/remotes/docker-config.ts'
export type { CredentialSource, Credentials } from '#core/remotes/remotes.ts'

export type { Client } from './client.ts'
export { type ConnectOptions, connect } from './connect.ts'
export type { ConvertOptions } from './convert.ts'
export { eventJson } from './event-json.ts'
export { type FollowOptions, followEvents } from './follow.ts'
export type {
  ExportOptions,
  PullOptions,
  PushOptions,
  RegistryOptions,
  TransferOptions,
} from './transfer/options.ts'
export type { TransferPart, TransferProgress } from './transfer/progress.ts'
export type { ImageUsage } from '#core/images/usage.ts'
