import type { Activation } from '#core/mount/manager.ts'
import type { Adaptor } from '#lib/filters/filters.ts'

/** What filters see of an activation: `name`, `labels.<key>`. */
export const adaptActivation =
  ({ name, labels }: Activation): Adaptor =>
  ([field, ...rest]) => {
    if (field === 'name') return name
    const key = rest.join('.')
    return field === 'labels' && Object.hasOwn(labels, key) ? labels[key] : undefined
  }
