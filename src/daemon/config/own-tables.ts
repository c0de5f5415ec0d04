import type { Branch } from './tree.ts'

/** The plugin that `[audit]` is the section of. */
export const auditUri = 'io.wharf.audit.v1.log'

/**
 * Tables of wharf's own, which are written above the plugins and read by one: `[audit]` and
 * `[[listeners]]`. What the section of the plugin says itself wins.
 */
export function ownTablesToPlugins(tree: Branch): void {
  const audit = tree.branch('audit')
  if (audit) {
    const section = tree.ensure('plugins').ensure(auditUri)
    for (const [key, node] of audit.entries) if (!section.get(key)) section.set(key, node)
    tree.take('audit')
  }
  const listeners = tree.leaf('listeners')
  if (listeners) {
    const section = tree.ensure('plugins').ensure('io.containerd.server.v1.listeners')
    if (!section.get('listeners')) section.set('listeners', listeners)
    tree.take('listeners')
  }
}
