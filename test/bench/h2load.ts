import { run } from '#testing/daemon.ts'

/** A unary call to be made many times. */
export interface Load {
  /** Path of the daemon's socket. */
  readonly address: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  /** A file with the request as it goes over the wire. */
  readonly body: string
  /** How long an answer is on the wire. */
  readonly answerBytes: number
  /** Calls that are open at any time, all on one connection. */
  readonly flight: number
}

const warmUpSeconds = 1

/**
 * Makes the call for some seconds, after a second to warm up. @returns calls per second.
 * @throws an Error when a call fails, or its answers are not as long as they must be.
 */
export async function loadOf(load: Load, seconds: number): Promise<number> {
  const headers = { 'content-type': 'application/grpc', te: 'trailers', ...load.headers }
  const { code, stdout, stderr } = await run('h2load', [
    `--base-uri=unix:${load.address}`,
    `--data=${load.body}`,
    '--clients=1',
    '--threads=1',
    `--max-concurrent-streams=${load.flight}`,
    `--duration=${seconds}`,
    `--warm-up-time=${warmUpSeconds}`,
    ...Object.entries(headers).map(([name, value]) => `--header=${name}: ${value}`),
    `http://localhost${load.path}`,
  ])
  const report = parseReport(stdout)
  const short = report.bytes < report.succeeded * load.answerBytes
  if (code === 0 && report.failed === 0 && report.succeeded > 0 && !short) return report.perSecond
  throw new Error(`h2load ${load.path}: ${short ? 'answers are too short' : 'calls failed'}
${stdout}${stderr}`)
}

/** What h2load says at its end. */
export interface Report {
  readonly perSecond: number
  readonly succeeded: number
  readonly failed: number
  /** Bytes of all answers, without their headers. */
  readonly bytes: number
}

/** Reads what h2load wrote. */
export function parseReport(text: string): Report {
  const number = (pattern: RegExp): number => Number(text.match(pattern)?.[1] ?? Number.NaN)
  return {
    perSecond: number(/^finished in .*, ([\d.]+) req\/s/m),
    succeeded: number(/^requests: .* (\d+) succeeded/m),
    failed: number(/^requests: .* (\d+) failed/m),
    bytes: number(/^traffic: .*\((\d+)\) data/m),
  }
}
