import { type Context, type Fields, type Logger, silent } from '#core/context.ts'

/** A logger that keeps what is said, as `level message {fields}`. */
export function recordingLogger(lines: string[]): Logger {
  const say =
    (level: string) =>
    (message: string, fields?: Fields): void => {
      lines.push(`${level} ${message}${fields ? ` ${JSON.stringify(fields)}` : ''}`)
    }
  const log: Logger = {
    debug: say('debug'),
    info: say('info'),
    warn: say('warn'),
    error: say('error'),
    with: () => log,
  }
  return log
}

/** A context for one test, in namespace `testing`. */
export const newContext = (t: { readonly signal: AbortSignal }): Context => ({
  signal: t.signal,
  log: silent,
  namespace: 'testing',
})
