import type { Envelope } from '#core/events/events.ts'
import { validateIdentifier } from '#core/identifiers/identifiers.ts'
import { describe, invalidArgument } from '#lib/errors/errors.ts'

/**
 * Checks a topic, which is `/` and identifiers joined by `/`: `/tasks/exit`.
 *
 * Source: upstream `core/events/exchange`.
 * @throws `invalid_argument`.
 */
export function validateTopic(topic: string): void {
  const at = `envelope topic ${JSON.stringify(topic)}`
  if (topic === '') throw invalidArgument(`${at}: must not be empty`)
  if (!topic.startsWith('/')) throw invalidArgument(`${at}: must start with '/'`)
  if (topic.length === 1) throw invalidArgument(`${at}: must have at least one component`)
  for (const component of topic.slice(1).split('/')) {
    checkIdentifier(component, `${at}: failed validation on component ${JSON.stringify(component)}`)
  }
}

/** Checks an event that another process made. @throws `invalid_argument`. */
export function validateEnvelope(envelope: Envelope): void {
  checkIdentifier(envelope.namespace, 'event envelope has invalid namespace')
  validateTopic(envelope.topic)
  const { seconds, nanos } = envelope.timestamp
  if (isZero(seconds, nanos)) {
    throw invalidArgument('timestamp must be set on forwarded event')
  }
}

/** Go's zero time, year 1; a timestamp that is missing is the epoch, which is good. */
const isZero = (seconds: bigint, nanos: number): boolean =>
  nanos === 0 && seconds === -62_135_596_800n

function checkIdentifier(id: string, context: string): void {
  try {
    validateIdentifier(id)
  } catch (err) {
    throw invalidArgument(`${context}: ${describe(err)}`, { cause: err })
  }
}
