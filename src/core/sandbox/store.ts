import type { Context } from '#core/context.ts'

import type { Sandbox } from './controller.ts'

/** The fields a caller gives; times are the store's. */
export type NewSandbox = Omit<Sandbox, 'createdAt' | 'updatedAt'>

/**
 * Records of the sandboxes of `ctx.namespace`, which say nothing about whether they run. Every method
 * throws `failed_precondition` without a namespace.
 *
 * Source: upstream `core/sandbox/store.go`.
 */
export interface SandboxStore {
  /** @throws `already_exists`; `invalid_argument` for a bad id. */
  create(ctx: Context, sandbox: NewSandbox): Promise<Sandbox>
  /**
   * Replaces the fields named by `paths` (`labels`, `labels.<key>`, `extensions`, `extensions.<key>`,
   * `runtime`, `spec`); without paths all of them, and then the name of the runtime must be as it was.
   *
   * @throws `not_found`; `invalid_argument` for an immutable or unknown field.
   */
  update(ctx: Context, sandbox: NewSandbox, paths: readonly string[]): Promise<Sandbox>
  /** @throws `not_found`. */
  get(ctx: Context, id: string): Promise<Sandbox>
  /** Those that match any of `filters` (`id`, `labels`); all when there is none. @throws `invalid_argument`. */
  list(ctx: Context, filters?: readonly string[]): Promise<readonly Sandbox[]>
  /** @throws `not_found`. */
  delete(ctx: Context, id: string): Promise<void>
}
