import { digestOf } from '#lib/digest/digest.ts'

/**
 * The name of each layer on top of those below it, bottom first. Source: OCI image-spec `config.md`,
 * "Layer ChainID".
 */
export function chainIds(diffIds: readonly string[]): string[] {
  const chain: string[] = []
  for (const diffId of diffIds) {
    const below = chain.at(-1)
    chain.push(below === undefined ? diffId : digestOf(`${below} ${diffId}`))
  }
  return chain
}
