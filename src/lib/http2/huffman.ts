/*
 * The Huffman code of HPACK (RFC 7541 Appendix B). It is canonical: codes of one length are
 * consecutive numbers in the order of their symbols, so the lengths say it all. They are written as
 * letters, `a` for 5 bits to `z` for 30, for the symbols 0 to 255 and the end of string, 256.
 */
import { ErrorCode, Http2Error } from './protocol.ts'

const lengths =
  'isxxxxxxxtzxxzxxxxxxxxzxxxxxxxxx' +
  'bffhibdgffdgdbbbaaabbbbbbbcdkbhf' +
  'ibccccccccccccccccccccccdcdioijb' +
  'kabababbbaccbbbabcbaabccccckgjix' +
  'prpprrrsrssssststtrstssssqrsrsst' +
  'rqprrssqsrrtqrssqqrqsrssprrrsrrs' +
  'vvporsruvvvwwvtuoqvwwvwtqqvvxwww' +
  'ptpqrqqsrruuttvsvwvvwwwwwxwwwwwv' +
  'z'

const shortestBits = 5
const endOfString = 256

/** The code of each symbol, and how many bits it has. */
const codes = new Uint32Array(lengths.length)
const bits: Uint8Array = Uint8Array.from(lengths, bitsOf)

function bitsOf(letter: string): number {
  return letter.charCodeAt(0) - 'a'.charCodeAt(0) + shortestBits
}

/*
 * The decoder goes through the code tree by four bits: `steps[state * 16 + nibble]` is the next
 * state in its low 9 bits, then whether a symbol has ended (1 bit), and the symbol (8 bits). No
 * code is shorter than five bits, so no step ends two symbols.
 */
const stateBits = 0x1ff
const symbolEnded = 0x200
const failed = 0x1ff
let steps: Uint32Array | undefined
/** States in which the end of the text is no error: at most 7 bits, all ones, since a symbol. */
const accepting = new Set<number>()

assignCodes()

function assignCodes(): void {
  let code = 0
  for (let length = shortestBits; length <= bitsOf('z'); length++) {
    code *= 2
    for (const [symbol, own] of bits.entries()) if (own === length) codes[symbol] = code++
  }
}

/** Inner nodes of the tree: the two children of each; a leaf is the complement of its symbol. */
type Tree = [number, number][]

function plant(): Tree {
  const tree: Tree = [[0, 0]]
  for (const [symbol, code] of codes.entries()) {
    let node = 0
    const length = bits[symbol] ?? 0
    for (let bit = length - 1; bit >= 0; bit--) {
      const side = (code >>> bit) & 1
      const inner = tree[node]
      if (!inner) throw new RangeError('the code is no tree')
      if (bit === 0) inner[side] = ~symbol
      else if (inner[side] === 0) inner[side] = tree.push([0, 0]) - 1
      node = inner[side] ?? 0
    }
  }
  return tree
}

function buildSteps(): Uint32Array {
  const tree = plant()
  const table = new Uint32Array(tree.length * 16)
  for (let state = 0; state < tree.length; state++) {
    for (let nibble = 0; nibble < 16; nibble++)
      table[state * 16 + nibble] = step(tree, state, nibble)
  }
  for (let node = 0, depth = 0; depth < 8; depth++) {
    accepting.add(node)
    node = tree[node]?.[1] ?? 0
  }
  return table
}

function step(tree: Tree, state: number, nibble: number): number {
  let [node, symbol] = [state, -1]
  for (let bit = 3; bit >= 0; bit--) {
    const next = tree[node]?.[(nibble >>> bit) & 1] ?? 0
    if (next === ~endOfString) return failed
    if (next < 0) symbol = ~next
    node = Math.max(0, next)
  }
  return symbol < 0 ? node : node | symbolEnded | (symbol << 10)
}

let scratch = Buffer.allocUnsafe(4096)

/** The text of `bytes` from `start` to `end`. @throws `Http2Error` when it is none. */
export function decodeHuffman(bytes: Buffer, start: number, end: number): string {
  const table = (steps ??= buildSteps())
  if ((end - start) * 2 > scratch.length) scratch = Buffer.allocUnsafe((end - start) * 2)
  let [state, length] = [0, 0]
  for (let at = start; at < end; at++) {
    const byte = bytes[at] ?? 0
    for (let shift = 4; shift >= 0; shift -= 4) {
      const next = table[state * 16 + ((byte >>> shift) & 15)] ?? failed
      state = next & stateBits
      if (state === failed) throw corrupt()
      if ((next & symbolEnded) !== 0) scratch[length++] = next >>> 10
    }
  }
  if (!accepting.has(state)) throw corrupt()
  return scratch.toString('latin1', 0, length)
}

const corrupt = (): Http2Error =>
  new Http2Error(ErrorCode.compressionError, 'header text with a corrupt Huffman code')

/** How many bytes the code of `text` takes; characters are bytes. */
export function huffmanBytes(text: string): number {
  let total = 0
  for (let n = 0; n < text.length; n++) total += bits[text.charCodeAt(n) & 0xff] ?? 0
  return (total + 7) >>> 3
}

/** The code of `text`, padded with ones. */
export function encodeHuffman(text: string): Buffer {
  const encoded = Buffer.alloc(huffmanBytes(text), 0xff)
  let [held, heldBits, at] = [0, 0, 0]
  for (let n = 0; n < text.length; n++) {
    const symbol = text.charCodeAt(n) & 0xff
    // Up to 7 bits are held and a code has up to 30: more than the bit operators can take.
    held = held * 2 ** (bits[symbol] ?? 0) + (codes[symbol] ?? 0)
    heldBits += bits[symbol] ?? 0
    for (; heldBits >= 8; heldBits -= 8) {
      const byte = Math.floor(held / 2 ** (heldBits - 8))
      encoded[at++] = byte
      held -= byte * 2 ** (heldBits - 8)
    }
  }
  if (heldBits > 0) encoded[at] = (held << (8 - heldBits)) | (0xff >>> heldBits)
  return encoded
}
