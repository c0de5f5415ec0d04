/**
 * Reads JSON that is signed, or says who signed: every reader must find the same in it. So it throws
 * where `JSON.parse` chooses: a key that stands twice in an object, also in other letters, as Go takes
 * those for one; and it throws for more than 32 levels.
 *
 * @throws Error, naming it as `what`.
 */
export function parseStrictJson(bytes: Uint8Array, what: string): unknown {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    const value: unknown = JSON.parse(text)
    refuseDuplicates(text)
    return value
  } catch (err) {
    const why = err instanceof Error ? err.message : String(err)
    throw new Error(`${what} is no good JSON: ${why}`, { cause: err })
  }
}

const mostLevels = 32
const token = /"[^"\\]*(?:\\.[^"\\]*)*"|[{}[\],:]/g

/** Goes over a text that is JSON: only its strings and brackets matter. */
function refuseDuplicates(text: string): void {
  const levels: (Set<string> | undefined)[] = []
  let isKey = false
  for (const [piece] of text.matchAll(token)) {
    const keys = levels.at(-1)
    if (piece === '{' || piece === '[') {
      levels.push(piece === '{' ? new Set() : undefined)
      if (levels.length > mostLevels) throw new Error(`it has more than ${mostLevels} levels`)
      isKey = piece === '{'
    } else if (piece === '}' || piece === ']') {
      levels.pop()
      isKey = false
    } else if (piece === ',') isKey = keys !== undefined
    else if (piece === ':') isKey = false
    else if (isKey) add(keys, String(JSON.parse(piece)))
  }
}

function add(keys: Set<string> | undefined, key: string): void {
  const folded = key.toLowerCase()
  if (keys?.has(folded)) throw new Error(`key ${JSON.stringify(key)} stands twice in one object`)
  keys?.add(folded)
}
