/**
 * What an OCI runtime keeps of a container in its state directory, as far as a host does by itself what it
 * would run that runtime for. Both that are known have beside it:
 *
 *   <id>/exec.fifo    where the init process waits; from creation until somebody has let it go on as the
 *                     user's program, who then removes it
 */
export interface RuntimeFiles {
  /** The control groups of a container that needs nothing else undone; `undefined` for any other. */
  readonly groupsIn: (stateDir: string) => readonly string[] | undefined
  /**
   * Lets the init process `pid`, which waits at `fifo`, go on.
   *
   * @returns whether it does; if not, nothing has changed.
   */
  readonly letGo: (fifo: string, pid: number, signal: AbortSignal) => boolean | Promise<boolean>
  /** Whether the init process, which lives, still waits at `fifo`. */
  readonly waits: (fifo: string, pid: number) => boolean
}

/** The hooks of a container, by their names in the spec. */
export type Hooks = Readonly<Record<string, readonly unknown[] | null>> | null

/** Whether there are any that the runtime runs when it starts or deletes a container. */
export const hasOwnHooks = (hooks: Hooks | undefined): boolean =>
  ['poststart', 'poststop'].some((name) => (hooks?.[name]?.length ?? 0) > 0)
