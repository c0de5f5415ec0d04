/* What programs use a daemon with: the module `wharfd/client`. */

export type { Envelope, Followed, From } from '#core/events/events.ts'

export type { Client } from './client.ts'
export { type ConnectOptions, connect } from './connect.ts'
export { eventJson } from './event-json.ts'
export { type FollowOptions, followEvents } from './follow.ts'
