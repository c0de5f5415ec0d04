import { pagesIn, type Span } from './outline.ts'

/**
 * Free pages that a database keeps for the day when the disk is full: a delete, too, writes new pages
 * before it gives old ones back, as many as it touches. A commit that takes more than it gives
 * cannot have them.
 */
export const headroomPages = 64

/** What a commit does to the pages of a file. */
export interface PageUse {
  readonly written: readonly { readonly span: number }[]
  readonly freed: readonly Span[]
}

/** Whether a commit leaves the file with fewer free pages than it had. */
export const takesRoom = ({ written, freed }: PageUse): boolean => pagesIn(written) > pagesIn(freed)
