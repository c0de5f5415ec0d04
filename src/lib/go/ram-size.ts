import { invalidArgument } from '#lib/errors/errors.ts'

const units = 'bkmgtp'

/**
 * The bytes that a text such as `512MiB`, `1g`, `1.5 GB` or `4096` stands for; each unit is 1024 of the one
 * before. Source: `RAMInBytes` of github.com/docker/go-units.
 *
 * @throws `invalid_argument` for what is no size.
 */
export function parseRamSize(text: string): number {
  const [, number = '', unit = ''] = /^(\d+(?:\.\d+)?) ?([bkmgtp]?)i?b?$/i.exec(text) ?? []
  if (number === '') throw invalidArgument(`invalid size: ${JSON.stringify(text)}`)
  const power = Math.max(0, units.indexOf(unit.toLowerCase() || 'b'))
  return Math.trunc(Number(number) * 1024 ** power)
}
