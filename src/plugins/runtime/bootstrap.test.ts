import assert from 'node:assert/strict'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'

import { BootstrapParamsSchema, BootstrapResultSchema } from '#gen/shim/bootstrap_pb.ts'
import { codeOf } from '#lib/errors/errors.ts'

import {
  type Endpoint,
  encodeStart,
  parseStartReply,
  readEndpoint,
  writeEndpoint,
} from './bootstrap.ts'

const address = 'unix:///run/containerd/s/0123abc'

const protobuf = (fields: Partial<Endpoint>): Uint8Array =>
  toBinary(BootstrapResultSchema, create(BootstrapResultSchema, fields))

suite('the answer of a shim', () => {
  const cases: Record<string, [string | Uint8Array, Endpoint]> = {
    'is an address': [`${address}\n`, { version: 2, address, protocol: 'ttrpc' }],
    'is an abstract address': [
      '/containerd-shim/x.sock',
      { version: 2, address: '/containerd-shim/x.sock', protocol: 'ttrpc' },
    ],
    'is JSON': [
      JSON.stringify({ version: 3, address, protocol: 'grpc' }),
      { version: 3, address, protocol: 'grpc' },
    ],
    'is protobuf': [
      protobuf({ version: 3, address, protocol: 'ttrpc' }),
      { version: 3, address, protocol: 'ttrpc' },
    ],
    'is protobuf without a protocol': [
      protobuf({ version: 2, address }),
      { version: 2, address, protocol: 'ttrpc' },
    ],
  }
  for (const [title, [reply, expected]] of Object.entries(cases)) {
    void test(`that ${title}`, () => {
      assert.deepEqual(parseStartReply(Buffer.from(reply)), expected)
    })
  }

  void test('is refused for a task API of later', () => {
    const reply = protobuf({ version: 4, address, protocol: 'ttrpc' })
    assert.throws(
      () => parseStartReply(reply),
      (err) => codeOf(err) === 'unimplemented',
    )
  })

  void test('is refused when it is nothing', () => {
    assert.throws(() => parseStartReply(Buffer.from('\n')), /no address/)
  })
})

suite('what a shim is told', () => {
  const options = { typeUrl: 'containerd.runc.v1.Options', value: Uint8Array.of(58, 1, 47) }
  const params = {
    id: 'a',
    namespace: 'ns',
    address: '/run/x.sock',
    ttrpcAddress: '/run/x.sock.ttrpc',
    daemonBinary: '/usr/bin/wharfd',
    socketDir: '/run/s',
  }

  void test('is nothing, or an Any, in the older form', () => {
    assert.equal(encodeStart('any', params), undefined)
    const bytes = encodeStart('any', { ...params, options })
    const { typeUrl, value } = fromBinary(AnySchema, bytes ?? Buffer.of())
    assert.deepEqual({ typeUrl, value }, options)
  })

  void test('is everything in the newer form', () => {
    const bytes = encodeStart('params', { ...params, options })
    const got = fromBinary(BootstrapParamsSchema, bytes ?? Buffer.of())
    assert.equal(got.instanceId, 'a')
    assert.equal(got.namespace, 'ns')
    assert.equal(got.containerdTtrpcAddress, '/run/x.sock.ttrpc')
    assert.equal(got.socketDir, '/run/s')
    assert.equal(got.extensions[0]?.value?.typeUrl, options.typeUrl)
  })
})

suite('bootstrap.json', () => {
  void test('is read as it was written', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'bootstrap-'))
    const endpoint = { version: 3, address, protocol: 'ttrpc' }
    writeEndpoint(dir.path, endpoint)
    assert.deepEqual(readEndpoint(dir.path), endpoint)
    assert.equal(statSync(join(dir.path, 'bootstrap.json')).mode & 0o777, 0o644)
  })

  void test('is made from the address file of an older shim', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'bootstrap-'))
    writeFileSync(join(dir.path, 'address'), address)
    assert.equal(readEndpoint(dir.path).version, 2)
    const json: unknown = JSON.parse(readFileSync(join(dir.path, 'bootstrap.json'), 'utf8'))
    assert.deepEqual(json, { version: 2, address, protocol: 'ttrpc' })
  })
})
