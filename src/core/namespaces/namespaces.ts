import type { Context } from '#core/context.ts'
import type { Labels } from '#core/labels/labels.ts'

export interface Namespace {
  readonly name: string
  readonly labels: Labels
}

/** The namespaces of one daemon. A write in an unknown namespace makes it. */
export interface NamespaceStore {
  /** @throws `already_exists`; `invalid_argument` for a bad name or label. */
  create(ctx: Context, namespace: Namespace): Promise<void>
  /** @throws `not_found`. */
  get(ctx: Context, name: string): Promise<Namespace>
  list(ctx: Context): Promise<readonly Namespace[]>
  /** Sets one label; an empty value removes it. Creates the namespace when it is missing. */
  setLabel(ctx: Context, name: string, key: string, value: string): Promise<void>
  /** @throws `not_found`; `failed_precondition`, naming what it still has. */
  delete(ctx: Context, name: string): Promise<void>
}
