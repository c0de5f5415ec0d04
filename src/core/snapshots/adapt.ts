import type { Adaptor } from '#lib/filters/filters.ts'

import type { Info } from './snapshotter.ts'

/** What filters see of a snapshot: `kind`, `name`, `parent`, `labels.<key>`. */
export const adaptSnapshot =
  (info: Info): Adaptor =>
  ([field, ...rest]) => {
    if (field === 'kind' || field === 'name' || field === 'parent') return info[field]
    const key = rest.join('.')
    return field === 'labels' && Object.hasOwn(info.labels, key) ? info.labels[key] : undefined
  }
