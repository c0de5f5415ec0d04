import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { create, fromBinary, toBinary } from '@bufbuild/protobuf'
import { AnySchema } from '@bufbuild/protobuf/wkt'

import { BootstrapParamsSchema, BootstrapResultSchema, LogLevel } from '#gen/shim/bootstrap_pb.ts'

import { OptionsSchema } from '#gen/types/runc-options_pb.ts'

import { formatReply, parseBootstrap } from './bootstrap.ts'
import { parseFlags } from './flags.ts'
import { numberField, readFields, textField } from './wire.ts'

const flags = parseFlags(['-namespace', 'k8s.io', '-address', '/a.sock', '-id', 'c1', 'start'])

suite('bootstrap', () => {
  test('flags are read as Go reads them', () => {
    const read = parseFlags(['--namespace=a', '-id', 'x', '-debug', '-debug=false', 'delete', 'y'])
    assert.deepEqual(
      [read.namespace, read.id, read.debug, read.command, read.publishBinary],
      ['a', 'x', false, 'delete', 'containerd'],
    )
    assert.throws(
      () => parseFlags(['-nonsense']),
      /^CodedError: flag provided but not defined: -nonsense/,
    )
    assert.throws(() => parseFlags(['-id']), /flag needs an argument: -id/)
    assert.throws(() => parseFlags(['-toString']), /not defined/)
  })

  test('parameters are taken from protobuf when they are this container’s', () => {
    const params = create(BootstrapParamsSchema, {
      instanceId: 'c1',
      namespace: 'k8s.io',
      logLevel: LogLevel.DEBUG,
      containerdTtrpcAddress: '/t.sock',
      containerdGrpcAddress: '/g.sock',
      socketDir: '/run/s',
    })
    assert.deepEqual(parseBootstrap(toBinary(BootstrapParamsSchema, params), flags, {}), {
      form: 'protobuf',
      debug: true,
      ttrpcAddress: '/t.sock',
      grpcAddress: '/g.sock',
      socketDir: '/run/s',
      shimCgroup: '',
    })
    const other = toBinary(BootstrapParamsSchema, { ...params, instanceId: 'c2' })
    assert.equal(parseBootstrap(other, flags, {}).form, 'plain')
  })

  test('the control group of the host is found in the options, in every form', () => {
    const value = toBinary(
      OptionsSchema,
      create(OptionsSchema, { binaryName: 'crun', shimCgroup: '/shims' }),
    )
    const options = { typeUrl: 'x/containerd.runc.v1.Options', value }
    const foreign = { typeUrl: 'runtimeoptions.v1.Options', value }
    const any = (message: typeof options) => toBinary(AnySchema, create(AnySchema, message))
    assert.equal(parseBootstrap(any(options), flags, {}).shimCgroup, '/shims')
    assert.equal(parseBootstrap(any(foreign), flags, {}).shimCgroup, '')
    const params = create(BootstrapParamsSchema, {
      instanceId: 'c1',
      namespace: 'k8s.io',
      extensions: [{ value: options }, { value: foreign }],
    })
    const parsed = parseBootstrap(toBinary(BootstrapParamsSchema, params), flags, {})
    assert.deepEqual([parsed.form, parsed.shimCgroup], ['protobuf', '/shims'])
  })

  test('anything else on stdin leaves the choice to the environment', () => {
    const options = create(AnySchema, {
      typeUrl: 'containerd.runc.v1.Options',
      value: Buffer.of(1),
    })
    const env = { TTRPC_ADDRESS: '/t', MAX_SHIM_VERSION: '2' }
    const inputs = [Buffer.of(), toBinary(AnySchema, options), Buffer.from('nonsense \xff')]
    for (const input of inputs) {
      const expected = {
        debug: false,
        ttrpcAddress: '/t',
        grpcAddress: '/a.sock',
        socketDir: '',
        shimCgroup: '',
      }
      assert.deepEqual(parseBootstrap(input, flags, env), { form: 'json', ...expected })
      assert.equal(parseBootstrap(input, flags, {}).form, 'plain')
    }
  })

  test('the reply is what the protobuf library reads', () => {
    const reply = formatReply('protobuf', 'unix:///run/s/x')
    assert.ok(reply instanceof Uint8Array)
    const { version, address, protocol } = fromBinary(BootstrapResultSchema, reply)
    assert.deepEqual([version, address, protocol], [3, 'unix:///run/s/x', 'ttrpc'])
    assert.equal(formatReply('plain', 'unix:///x'), 'unix:///x')
  })

  test('fields of every wire type are passed, and what is cut off is refused', () => {
    const message = Buffer.concat([
      numberField(1, 300),
      Buffer.of((2 << 3) | 5, 1, 2, 3, 4),
      Buffer.of((3 << 3) | 1, 1, 2, 3, 4, 5, 6, 7, 8),
      textField(4, 'text'),
    ])
    assert.equal(readFields(message)?.get(1), 300)
    assert.deepEqual(readFields(message)?.get(4), Buffer.from('text'))
    const ends = [2, 7, 16, 18, message.length - 1]
    for (const end of ends) assert.equal(readFields(message.subarray(0, end)), undefined, `${end}`)
    assert.equal(readFields(Buffer.of(0x0b)), undefined)
    assert.equal(readFields(Buffer.alloc(11, 0xff)), undefined)
  })
})
