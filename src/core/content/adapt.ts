import type { Adaptor } from '#lib/filters/filters.ts'

import type { Info, Status } from './content.ts'

/** What filters see of a blob: `digest` and `labels.<key>`. Source: upstream `core/content/adaptor.go`. */
export const adaptInfo =
  (info: Info): Adaptor =>
  ([field, ...rest]) => {
    if (field === 'digest') return info.digest
    const key = rest.join('.')
    return field === 'labels' && Object.hasOwn(info.labels, key) ? info.labels[key] : undefined
  }

/** What filters see of an upload: `ref`. */
export const adaptStatus =
  (status: Status): Adaptor =>
  ([field]) =>
    field === 'ref' ? status.ref : undefined
