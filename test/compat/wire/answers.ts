import { codeOf } from '#lib/errors/errors.ts'

/** What a call was answered with, as plain data: what comes of a stream, or code and message of a failure. */
export async function answerOf(call: () => unknown): Promise<unknown> {
  try {
    const answer = await call()
    return comparable(isStream(answer) ? await Array.fromAsync(answer) : answer)
  } catch (err) {
    const message = err instanceof Error ? err.message : String(err)
    return { code: codeOf(err), message: inWordsOfToday(message) }
  }
}

const isStream = (value: unknown): value is AsyncIterable<unknown> =>
  typeof value === 'object' && value !== null && Symbol.asyncIterator in value

/** Messages of older releases as main words them. */
const inWordsOfToday = (message: string): string =>
  message.replace(/^Target\./, 'target.').replace(/(: invalid argument)+$/, ': invalid argument')

/** Plain data without times. */
export const comparable = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (key, item: unknown) => {
      if (key === '$typeName') return undefined
      if (key.endsWith('At')) return typeof item
      if (typeof item === 'bigint') return String(item)
      return item
    }),
  )
