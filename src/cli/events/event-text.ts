import { eventJson } from '#client/event-json.ts'
import type { Followed, Timestamp } from '#core/events/events.ts'

/** As a line for people. */
export function followedText(followed: Followed): {
  readonly to: 'stdout' | 'stderr'
  readonly text: string
} {
  const { kind, cursor } = followed
  if (kind === 'place') return { to: 'stdout', text: '' }
  if (kind === 'gap') {
    const many = followed.lost === undefined ? 'some' : String(followed.lost)
    return { to: 'stderr', text: `wharf: ${many} events before ${cursor} are kept no longer\n` }
  }
  const { timestamp, namespace, topic, event } = followed.envelope
  const what = JSON.stringify(eventJson(event))
  return { to: 'stdout', text: `${cursor} ${timeText(timestamp)} ${namespace} ${topic} ${what}\n` }
}

/** As a line for programs. */
export function followedJson(followed: Followed): string {
  const { kind, cursor } = followed
  if (kind === 'place') return `${JSON.stringify({ cursor })}\n`
  if (kind === 'gap') return `${JSON.stringify({ cursor, gap: { lost: followed.lost } })}\n`
  const { timestamp, namespace, topic, event } = followed.envelope
  const told = { cursor, time: timeText(timestamp), namespace, topic, type: event.typeUrl }
  return `${JSON.stringify({ ...told, event: eventJson(event) })}\n`
}

/** RFC 3339 with nanoseconds, in UTC. */
function timeText({ seconds, nanos }: Timestamp): string {
  const whole = new Date(Number(seconds) * 1000)
  const text = Number.isNaN(whole.getTime()) ? new Date(0).toISOString() : whole.toISOString()
  return `${text.slice(0, 19)}.${String(nanos).padStart(9, '0')}Z`
}
