import type { TestContext } from 'node:test'

/** Whether this process is root; a test that needs it says so and is skipped otherwise. */
export function root(t: TestContext): boolean {
  if (process.getuid?.() === 0) return true
  t.skip('needs root')
  return false
}
