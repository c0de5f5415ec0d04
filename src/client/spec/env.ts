/** `env` with `changes` over it: `KEY=value` sets, `KEY` alone removes. Order is kept, new ones go last. */
export function mergeEnv(env: readonly string[], changes: readonly string[]): string[] {
  const merged = new Map(env.map((entry) => [keyOf(entry), entry]))
  for (const change of changes) {
    const key = keyOf(change)
    if (change.includes('=')) merged.set(key, change)
    else merged.delete(key)
  }
  return [...merged.values()]
}

/** An object of variables as `KEY=value` entries. */
export const envEntries = (
  env: Readonly<Record<string, string>> | readonly string[],
): readonly string[] =>
  isList(env) ? env : Object.entries(env).map(([key, value]) => `${key}=${value}`)

const isList = (
  env: Readonly<Record<string, string>> | readonly string[],
): env is readonly string[] => Array.isArray(env)

const keyOf = (entry: string): string => entry.split('=', 1)[0] ?? ''
