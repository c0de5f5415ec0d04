import { anyUnpack } from '@bufbuild/protobuf/wkt'
import { setTimeout as sleep } from 'node:timers/promises'

import { Events } from '#gen/services/events_pb.ts'
import type { Envelope } from '#gen/types/event_pb.ts'
import type { Connection } from '#lib/rpc/rpc.ts'
import { eventTypes } from '#proxy/convert/event-types.ts'

import { comparable } from './answers.ts'

/** An event as plain data, without its time. */
export interface HeardEvent {
  readonly topic: string
  readonly namespace: string
  readonly event: unknown
}

/** What a daemon publishes. */
export interface EventsOf extends AsyncDisposable {
  /** What it has published since this was asked last, in order. */
  sofar(): Promise<readonly HeardEvent[]>
}

const marks = '/test/mark'
/** How long until a mark is made again, ms: the subscription may not have been there yet. */
const againMs = 50

/** Hears every event of a daemon. */
export async function eventsOf(connection: Connection): Promise<EventsOf> {
  const stop = new AbortController()
  const { subscribe, publish } = connection.client(Events)
  const heard: Envelope[] = []
  const hearing = (async () => {
    for await (const event of subscribe({}, { signal: stop.signal })) heard.push(event)
  })()
  // Whoever waits for events finds that there are none.
  hearing.catch(() => {})
  let asked = 0
  const sofar = async (): Promise<readonly HeardEvent[]> => {
    const mark = `${marks}${++asked}`
    const at = () => heard.findIndex(({ topic }) => topic === mark)
    const event = { typeUrl: 'test' }
    const inside = { metadata: { 'containerd-namespace': 'mark' } }
    for (let tries = 0; at() < 0; tries++) {
      if (tries === 100) throw new Error('the events have ended')
      await publish({ topic: mark, event }, inside)
      await sleep(againMs)
    }
    const before = heard.splice(0, at() + 1).slice(0, -1)
    return before.filter(({ topic }) => !topic.startsWith(marks)).map(plain)
  }
  await sofar()
  return {
    sofar,
    [Symbol.asyncDispose]: async () => {
      stop.abort()
      await hearing.catch(() => {})
    },
  }
}

function plain({ topic, namespace, event }: Envelope): HeardEvent {
  const message = event && anyUnpack({ ...event, typeUrl: `/${event.typeUrl}` }, eventTypes())
  return { topic, namespace, event: message ? comparable(message) : event?.typeUrl }
}
