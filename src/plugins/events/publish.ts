import { fromBinary } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'

import { Events } from '#gen/services/events_pb.ts'
import { invalidArgument } from '#lib/errors/errors.ts'
import { connectGrpc } from '#lib/grpc/client.ts'

export interface PublishOptions {
  /** Path of the daemon's gRPC socket. */
  readonly address: string
  readonly namespace: string
  readonly topic: string
  /** An encoded `google.protobuf.Any`. */
  readonly event: Uint8Array
  readonly signal: AbortSignal
}

/**
 * Publishes one event to a running daemon.
 *
 * Source: upstream `cmd/containerd/command/publish.go`.
 * @throws `invalid_argument` for bytes that are no event; `unavailable` when no daemon answers; what
 * the daemon says.
 */
export async function publishEvent(options: PublishOptions): Promise<void> {
  const { address, namespace, topic, signal } = options
  const event = decode(options.event)
  await using connection = await connectGrpc(address, { signal })
  const metadata = { 'containerd-namespace': namespace }
  await connection.client(Events).publish({ topic, event }, { signal, metadata })
}

function decode(bytes: Uint8Array) {
  try {
    return fromBinary(AnySchema, bytes)
  } catch (err) {
    throw invalidArgument('the event is not an encoded Any', { cause: err })
  }
}
