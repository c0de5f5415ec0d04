import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { seeded } from '#lib/rpc/suite/mutate.ts'

import type { HeaderList } from './header-block.ts'
import { HpackDecoder } from './hpack-decoder.ts'
import { HpackEncoder } from './hpack-encoder.ts'
import { staticFields } from './hpack-table.ts'
import { decodeHuffman, encodeHuffman, huffmanBytes } from './huffman.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex')

function decode(decoder: HpackDecoder, text: string): HeaderList {
  const bytes = hex(text)
  return decoder.decode(bytes, 0, bytes.length).fields
}

const date1 = 'Mon, 21 Oct 2013 20:13:21 GMT'
const date2 = 'Mon, 21 Oct 2013 20:13:22 GMT'
const target = [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'www.example.com']
const page = [':method', 'GET', ':scheme', 'https', ':path', '/index.html', ...target.slice(6)]
const requests: readonly HeaderList[] = [
  target,
  [...target, 'cache-control', 'no-cache'],
  [...page, 'custom-key', 'custom-value'],
]
const cookie = 'foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1'
const location = ['location', 'https://www.example.com']
const found = [':status', '200', 'cache-control', 'private', 'date', date2, ...location]
const responses: readonly HeaderList[] = [
  [':status', '302', 'cache-control', 'private', 'date', date1, ...location],
  [':status', '307', 'cache-control', 'private', 'date', date1, ...location],
  [...found, 'content-encoding', 'gzip', 'set-cookie', cookie],
]

suite('header compression as RFC 7541 Appendix C has it', () => {
  test('fields of each kind (C.2)', () => {
    const decoder = new HpackDecoder(4096)
    const examples: readonly [string, HeaderList][] = [
      [
        '400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572',
        ['custom-key', 'custom-header'],
      ],
      ['040c 2f73 616d 706c 652f 7061 7468', [':path', '/sample/path']],
      ['1008 7061 7373 776f 7264 0673 6563 7265 74', ['password', 'secret']],
      ['82', [':method', 'GET']],
      ['be', ['custom-key', 'custom-header']],
    ]
    for (const [bytes, fields] of examples) assert.deepEqual(decode(decoder, bytes), fields)
  })

  const runs: readonly [string, readonly string[], readonly HeaderList[]][] = [
    [
      'requests without Huffman code (C.3)',
      [
        '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d',
        '8286 84be 5808 6e6f 2d63 6163 6865',
        '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65',
      ],
      requests,
    ],
    [
      'requests with Huffman code (C.4)',
      [
        '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff',
        '8286 84be 5886 a8eb 1064 9cbf',
        '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf',
      ],
      requests,
    ],
    [
      'responses without Huffman code, in a table of 256 bytes (C.5)',
      [
        `3fe1 01
         4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a
         3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d`,
        '4803 3330 37c1 c0bf',
        `88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04
         677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49
         553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31`,
      ],
      responses,
    ],
    [
      'responses with Huffman code, in a table of 256 bytes (C.6)',
      [
        `3fe1 01
         4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e
         919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3`,
        '4883 640e ffc1 c0bf',
        `88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7
         821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed
         4ee5 b106 3d50 07`,
      ],
      responses,
    ],
  ]
  for (const [name, blocks, lists] of runs) {
    test(name, () => {
      const decoder = new HpackDecoder(4096)
      for (const [n, block] of blocks.entries()) assert.deepEqual(decode(decoder, block), lists[n])
    })
  }

  test('the encoder writes the requests of C.4', () => {
    const encoder = new HpackEncoder()
    const blocks = requests.map((list) => encoder.encode(list).toString('hex'))
    assert.deepEqual(blocks, [
      '828684418cf1e3c2e5f23a6ba0ab90f4ff',
      '828684be5886a8eb10649cbf',
      '828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf',
    ])
  })
})

suite('header compression', () => {
  test('the static table has its 61 fields', () => {
    assert.equal(staticFields.length, 61)
    assert.deepEqual(staticFields[15], { name: 'accept-encoding', value: 'gzip, deflate' })
    assert.deepEqual(staticFields[60], { name: 'www-authenticate', value: '' })
  })

  test('the Huffman code carries every byte', () => {
    const all = String.fromCharCode(...Array.from({ length: 256 }, (_, byte) => byte))
    for (const text of ['', 'a', 'www.example.com', all, all + all]) {
      const code = encodeHuffman(text)
      assert.equal(code.length, huffmanBytes(text))
      assert.equal(decodeHuffman(code, 0, code.length), text)
    }
  })

  test('Huffman code that is not padded right is refused', () => {
    const bad = ['ff ff ff ff', 'f1e3c2e5f23a6ba0ab90f4ff ff', '18 00', 'ff ff ff fc']
    for (const text of bad) {
      const bytes = hex(text)
      assert.throws(() => decodeHuffman(bytes, 0, bytes.length), { errorCode: 9 }, text)
    }
  })

  const corrupt: readonly [string, string][] = [
    ['index 0', '80'],
    ['an index beyond the tables', 'be'],
    ['a name beyond the tables', '7f 00 01 61'],
    ['an integer without end', 'ff ff ff ff ff ff ff ff ff ff'],
    ['an integer of many zeros', 'ff 80 80 80 80 80 80 80 80 80 80 00'],
    ['an integer that is cut', '7f'],
    ['a text that is cut', '40 05 61 62'],
    ['no value', '40 01 61'],
    ['a table larger than agreed', '3f e2 1f'],
    ['three changes of the table', '20 20 20 82'],
    ['a change of the table behind a field', '82 20'],
  ]
  for (const [what, bytes] of corrupt) {
    test(`${what} is a compression error`, () => {
      assert.throws(() => decode(new HpackDecoder(4096), bytes), { errorCode: 9 })
    })
  }

  test('a list over the limit is decoded to its end, and says so', () => {
    const decoder = new HpackDecoder(200)
    const encoder = new HpackEncoder()
    const long = encoder.encode(['a', 'x'.repeat(100), 'b', 'y'.repeat(100), 'c', 'z'])
    assert.equal(decoder.decode(long, 0, long.length).tooLarge, true)
    const next = encoder.encode(['b', 'y'.repeat(100)])
    assert.equal(next.length, 1)
    assert.deepEqual(decoder.decode(next, 0, 1).fields, ['b', 'y'.repeat(100)])
  })

  test('the same block gives the same object, until the table changes', () => {
    const [decoder, encoder] = [new HpackDecoder(4096), new HpackEncoder()]
    const list = [':method', 'POST', 'x-key', 'value']
    const blocks = [1, 2, 3].map(() => encoder.encode(list))
    const [first, second, third] = blocks.map((block) => decoder.decode(block, 0, block.length))
    assert.notEqual(first, second)
    assert.equal(second, third)
    const other = encoder.encode(['x-other', 'value'])
    decoder.decode(other, 0, other.length)
    const [block = Buffer.alloc(0)] = blocks.slice(-1)
    assert.deepEqual(decoder.decode(block, 0, block.length).fields, [
      ':method',
      'POST',
      'x-other',
      'value',
    ])
  })

  test('random lists survive tables of any size', () => {
    const random = seeded(7541)
    const pick = (count: number): number => Math.floor(random() * count)
    const [encoder, decoder] = [new HpackEncoder(), new HpackDecoder(1 << 20)]
    const letters = (): string =>
      String.fromCharCode(...Array.from({ length: pick(60) }, () => pick(256)))
    const names = ['x-a', 'x-b', ':path', 'cookie', 'te', 'grpc-timeout', 'x-'.repeat(200)]
    const values = Array.from({ length: 40 }, letters)
    for (let round = 0; round < 3000; round++) {
      if (pick(50) === 0) encoder.allow([0, 33, 100, 500, 4096, 65536][pick(6)] ?? 0)
      const list = Array.from({ length: pick(12) }, () => [
        names[pick(names.length)] ?? '',
        values[pick(values.length)] ?? '',
      ]).flat()
      const once = pick(3) === 0 ? ['x-once', letters()] : []
      const block = encoder.encode(list, once)
      assert.deepEqual(decoder.decode(block, 0, block.length).fields, [...list, ...once])
    }
  })
})
