import { replace, type Rewritten } from '#doctor/database.ts'
import type { Outcome } from '#doctor/finding.ts'
import { type Findings, notRepaired, repaired } from '#doctor/findings.ts'
import { type CheckReport, checkFile } from '#lib/bolt/check.ts'
import type { BoltFile } from '#lib/bolt/file.ts'
import type { Problem } from '#lib/bolt/problem.ts'
import { rangeText } from '#lib/bolt/range.ts'
import { describe } from '#lib/errors/errors.ts'

export interface PagesOptions {
  readonly signal: AbortSignal
  readonly repair: boolean
  readonly findings: Findings
}

/** Of the problems of a file, or what was lost, this many are told. */
const told = 20

/**
 * Looks at every page of a database, and writes a damaged one anew if it may.
 *
 * @returns whether everything that was in it is in it.
 */
export async function checkPages(file: BoltFile, options: PagesOptions): Promise<boolean> {
  const { signal, repair, findings } = options
  const report = await checkFile(file, { signal })
  if (report.sound) return true
  const salvaged = repair ? await rewrite(file, signal) : undefined
  findings.add(
    damage(report),
    // It is done already: without it nothing else could be looked at.
    {
      step: 'records',
      run: async () => await Promise.resolve(salvaged?.outcome ?? notRepaired('')),
    },
  )
  return salvaged?.whole === true
}

function damage({ path, problems, moreProblems }: CheckReport): Parameters<Findings['add']>[0] {
  const damages = problems.filter(({ severity }) => severity === 'damage')
  return {
    kind: 'database-damaged',
    level: 'error',
    what: `${path} is damaged in ${damages.length + moreProblems} places`,
    where: path,
    details: damages.slice(0, told).map(problemText),
    consequence: 'a daemon does not start with it, or fails when it comes to such a page',
    advice:
      'with --repair all that can be read of it is written into a new file, and the damaged one kept; ' +
      `wharf doctor db ${path} shows every page`,
  }
}

const problemText = ({ page, message, lost }: Problem): string =>
  `${page === undefined ? 'the file' : `page ${page}`} ${message}${lost ? `; with it ${rangeText(lost)}` : ''}`

async function rewrite(
  file: BoltFile,
  signal: AbortSignal,
): Promise<{ readonly outcome: Outcome; readonly whole: boolean }> {
  try {
    const rewritten = await replace(file, { signal })
    const { losses, certain } = rewritten.salvaged
    return { outcome: outcomeOf(rewritten), whole: losses.length === 0 && certain }
  } catch (err) {
    signal.throwIfAborted()
    return { outcome: notRepaired(`it cannot be written anew: ${describe(err)}`), whole: false }
  }
}

function outcomeOf({ backup = '', salvaged }: Rewritten): Outcome {
  const { pairs, losses, certain } = salvaged
  const kept = `written anew with ${pairs} pairs; the damaged file is ${backup}`
  const older = certain ? '' : '; it may be as it was before the last changes'
  const lost = losses.filter(({ remedy }) => remedy === 'none')
  if (lost.length === 0) return repaired(kept + older)
  const ranges = lost.slice(0, told).map(rangeText).join(', ')
  return notRepaired(`${kept}${older}; lost is ${ranges}: pull or make again what was there`)
}
