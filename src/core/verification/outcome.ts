/** What a look for signatures came to. */
export type Outcome = Trusted | Untrusted

export interface Trusted {
  readonly ok: true
  /** Whose signature it was, in words. */
  readonly by: string
  /** When it is over, if it ends. */
  readonly until?: Date | undefined
}

export interface Untrusted {
  readonly ok: false
  /** What was found instead of a good signature, in words. */
  readonly found: string
}

/** How many faults are told. */
const mostTold = 4

/** What was found where no signature was good: how many there were, and what is wrong with the first of them. */
export function untrusted(kind: string, faults: readonly string[]): Untrusted {
  if (faults.length === 0) return { ok: false, found: `no ${kind} signature` }
  const told = faults.slice(0, mostTold).join('; ')
  const more = faults.length > mostTold ? `; and ${faults.length - mostTold} more` : ''
  const count = faults.length === 1 ? 'one that is not good' : `${faults.length}, none of them good`
  return { ok: false, found: `${kind} signatures: ${count}: ${told}${more}` }
}
