/** How many entries of a list travel in one message. Source: upstream `contentserver.go`, `List`. */
const blockLength = 100

/** `items` in blocks, in order; the last one may be short, and none is empty. */
export async function* blocks<T>(items: AsyncIterable<T>): AsyncGenerator<T[], void, undefined> {
  let block: T[] = []
  for await (const item of items) {
    block.push(item)
    if (block.length < blockLength) continue
    yield block
    block = []
  }
  if (block.length > 0) yield block
}
