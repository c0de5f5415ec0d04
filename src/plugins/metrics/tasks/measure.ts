/** One number of a cgroup, and the labels that tell it from others of its measure. */
export type Reading = readonly [value: bigint, labels?: Readonly<Record<string, string>>]

/** A measure of cgroups: what Prometheus calls it, and where it is in the stats of a shim. */
export interface Measure<T> {
  /** Without `container_` before it. */
  readonly name: string
  readonly help: string
  readonly type?: 'counter' | 'gauge'
  /** Nothing when the cgroup does not count it. */
  read(stats: T): readonly Reading[]
}

/** Fields of a message that are numbers. */
export type Numbers<T> = { [K in keyof T]: T[K] extends bigint ? K : never }[keyof T] & string

/** The measure `<name>_<unit>` of one number, as upstream names it. */
export const single = <T>(
  name: string,
  unit: string,
  help: string,
  read: (stats: T) => bigint | undefined,
): Measure<T> => ({
  name: `${name}_${unit}`,
  help,
  read: (stats) => {
    const value = read(stats)
    return value === undefined ? [] : [[value]]
  },
})
