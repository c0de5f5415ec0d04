/** Random numbers in [0, 1) that are the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** `bytes` with a few of them changed, cut out, doubled, or the end missing. */
export function mutate(bytes: Buffer, random: () => number): Buffer {
  let result = Buffer.from(bytes)
  const changes = 1 + Math.floor(random() * 6)
  for (let n = 0; n < changes; n++) {
    const at = Math.floor(random() * result.length)
    const kind = random()
    if (kind < 0.6) result[at] = Math.floor(random() * 256)
    else if (kind < 0.75) result = cut(result, at, Math.floor(random() * 20))
    else if (kind < 0.9) result = double(result, at, Math.floor(random() * 40))
    else result = result.subarray(0, at)
    if (result.length === 0) return Buffer.from([0])
  }
  return result
}

const cut = (bytes: Buffer, at: number, length: number): Buffer<ArrayBuffer> =>
  Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)])

const double = (bytes: Buffer, at: number, length: number): Buffer<ArrayBuffer> =>
  Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)])
