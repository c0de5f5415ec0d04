import assert from 'node:assert/strict'
import { test } from 'node:test'

import { isLoopback, isPath, tcpAddress, unixPath } from './address.ts'

test('a path is a path, with unix:// in front of it or not', () => {
  assert.equal(unixPath('/run/x.sock'), '/run/x.sock')
  assert.equal(unixPath('unix:///run/x.sock'), '/run/x.sock')
})

test('sockets without an owner, and other families, are refused with the reason', () => {
  for (const [address, reason] of [
    ['@abstract', /no owner/],
    ['\0abstract', /no owner/],
    ['vsock://2:1234', /vsock/],
    ['hvsock:///x:1', /vsock/],
    ['tcp://127.0.0.1:1', /not the path/],
    ['127.0.0.1:1', /not the path/],
    [`/${'x'.repeat(107)}`, /at most 107 bytes/],
  ] as const) {
    assert.throws(() => unixPath(address), { code: 'invalid_argument', message: reason }, address)
  }
})

test('host and port are told apart, also in version 6', () => {
  assert.deepEqual(tcpAddress('127.0.0.1:80'), { host: '127.0.0.1', port: 80 })
  assert.deepEqual(tcpAddress(':80'), { host: undefined, port: 80 })
  assert.deepEqual(tcpAddress('[::1]:80'), { host: '::1', port: 80 })
  for (const address of ['80', 'host', 'host:', 'host:65536', '::1:80', 'a b@c:1', '/run/x']) {
    assert.throws(() => tcpAddress(address), { code: 'invalid_argument' }, address)
  }
})

test('only what nobody else can reach is loopback', () => {
  for (const host of ['127.0.0.1', '127.9.9.9', '::1', 'localhost']) {
    assert.ok(isLoopback({ host, port: 1 }), host)
  }
  for (const host of [
    undefined,
    '0.0.0.0',
    '::',
    '10.0.0.1',
    '127.0.0.1.example.org',
    '1127.0.0.1',
  ]) {
    assert.ok(!isLoopback({ host, port: 1 }), `${host}`)
  }
})

test('a debug address is a path or a host', () => {
  assert.ok(isPath('/run/x'))
  assert.ok(isPath('@x'))
  assert.ok(!isPath('127.0.0.1:80'))
  assert.ok(!isPath(':80'))
})
