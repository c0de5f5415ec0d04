import type { Context } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'

export interface Namespace {
  readonly name: string
  readonly labels: Labels
}

/** How labels are set. */
export interface LabelOptions {
  /** Whether the labels that are not given go. */
  readonly replace?: boolean
}

/** The namespaces of one daemon. A write in an unknown namespace makes it. */
export interface NamespaceStore {
  /** @throws `already_exists`; `invalid_argument` for a bad name or label. */
  create(ctx: Context, namespace: Namespace): Promise<void>
  /** @throws `not_found`. */
  get(ctx: Context, name: string): Promise<Namespace>
  list(ctx: Context): Promise<readonly Namespace[]>
  /**
   * Sets labels, all or none of them; an empty value removes one. Any label creates a namespace that is missing.
   * @throws `invalid_argument` for a bad label.
   */
  setLabels(ctx: Context, name: string, labels: Labels, options?: LabelOptions): Promise<void>
  /** @throws `not_found`; `failed_precondition`, naming what it still has. */
  delete(ctx: Context, name: string): Promise<void>
}
