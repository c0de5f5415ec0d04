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
 * The decoder goes through the code tree by four bits: a step is the next
 * state in its low 9 bits, then whether a symbol has ended (1 bit), and the symbol (8 bits). No
 * code is shorter than five bits, so no step ends two symbols.
 */
const stateBits = 0x1ff
const symbolEnded = 0x200
const failed = 0x1ff
const unknown = 0xffffffff
let steps: Steps | undefined

assignCodes()

function assignCodes(): void {
  const byLength = Array.from(bits.keys()).toSorted((a, b) => bitsAt(a) - bitsAt(b) || a - b)
  let [code, length] = [0, shortestBits]
  for (const symbol of byLength) {
    code *= 2 ** (bitsAt(symbol) - length)
    length = bitsAt(symbol)
    codes[symbol] = code++
  }
}

function bitsAt(symbol: number): number {
  return bits[symbol] ?? 0
}

/** The two children of each inner node, `tree[node * 2 + bit]`; a leaf is the complement of its symbol. */
type Tree = Int16Array

function plant(): Tree {
  const tree = new Int16Array((lengths.length - 1) * 2)
  let nodes = 1
  for (const [symbol, code] of codes.entries()) {
    let node = 0
    for (let bit = bitsAt(symbol) - 1; bit > 0; bit--) {
      const child = node * 2 + ((code >>> bit) & 1)
      if (tree[child] === 0) tree[child] = nodes++
      node = tree[child] ?? 0
    }
    tree[node * 2 + (code & 1)] = ~symbol
  }
  return tree
}

/** The steps, each of which is found when it is first taken: most texts need few. */
class Steps {
  readonly #tree = plant()
  readonly #table = new Uint32Array(this.#tree.length * 8).fill(unknown)
  /** States in which the end of the text is no error: at most 7 bits, all ones, since a symbol. */
  readonly accepting: ReadonlySet<number> = new Set(onesFrom(this.#tree))

  next(state: number, nibble: number): number {
    const known = this.#table[state * 16 + nibble] ?? failed
    return known === unknown ? this.#find(state, nibble) : known
  }

  #find(state: number, nibble: number): number {
    const found = step(this.#tree, state, nibble)
    this.#table[state * 16 + nibble] = found
    return found
  }
}

/** The nodes that are reached by no bit, by a one, by two … and by seven. */
function onesFrom(tree: Tree): number[] {
  const nodes = [0]
  for (let depth = 1; depth < 8; depth++) nodes.push(tree[(nodes.at(-1) ?? 0) * 2 + 1] ?? 0)
  return nodes
}

function step(tree: Tree, state: number, nibble: number): number {
  let [node, symbol] = [state, -1]
  for (let bit = 3; bit >= 0; bit--) {
    const next = tree[node * 2 + ((nibble >>> bit) & 1)] ?? 0
    if (next === ~endOfString) return failed
    if (next < 0) symbol = ~next
    node = Math.max(0, next)
  }
  return symbol < 0 ? node : node | symbolEnded | (symbol << 10)
}

let scratch = Buffer.allocUnsafe(4096)

/** The text of `bytes` from `start` to `end`. @throws `Http2Error` when it is none. */
export function decodeHuffman(bytes: Buffer, start: number, end: number): string {
  steps ??= new Steps()
  if ((end - start) * 2 > scratch.length) scratch = Buffer.allocUnsafe((end - start) * 2)
  let [state, length] = [0, 0]
  for (let at = start; at < end; at++) {
    const byte = bytes[at] ?? 0
    for (let shift = 4; shift >= 0; shift -= 4) {
      const next = steps.next(state, (byte >>> shift) & 15)
      state = next & stateBits
      if (state === failed) throw corrupt()
      if ((next & symbolEnded) !== 0) scratch[length++] = next >>> 10
    }
  }
  if (!steps.accepting.has(state)) throw corrupt()
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
