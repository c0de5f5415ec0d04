import assert from 'node:assert/strict'
import { test } from 'node:test'

import { readOtlpSettings } from './settings.ts'

const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector:4318/' }

test('without an endpoint, or switched off, there is nothing to export', () => {
  assert.equal(readOtlpSettings({}, 'x'), undefined)
  assert.equal(readOtlpSettings({ OTEL_SERVICE_NAME: 'y' }, 'x'), undefined)
  assert.equal(readOtlpSettings({ ...endpoint, OTEL_SDK_DISABLED: 'true' }, 'x'), undefined)
  assert.equal(readOtlpSettings({ ...endpoint, OTEL_TRACES_EXPORTER: 'none' }, 'x'), undefined)
})

test('an endpoint for all signals has a path below it, one for traces is complete', () => {
  assert.equal(readOtlpSettings(endpoint, 'x')?.url.href, 'http://collector:4318/v1/traces')
  const own = { ...endpoint, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://other/in' }
  assert.equal(readOtlpSettings(own, 'x')?.url.href, 'https://other/in')
})

test('headers, attributes and the name of the service are read', () => {
  const env = {
    ...endpoint,
    OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20abc, x-a=1,broken',
    OTEL_RESOURCE_ATTRIBUTES: 'zone=b,service.name=from-attributes',
  }
  const settings = readOtlpSettings(env, 'x')
  assert.deepEqual(settings?.headers, { authorization: 'Bearer abc', 'x-a': '1' })
  assert.deepEqual(settings?.resource, { zone: 'b', 'service.name': 'from-attributes' })
  const named = readOtlpSettings({ ...env, OTEL_SERVICE_NAME: 'own' }, 'x')
  assert.equal(named?.resource['service.name'], 'own')
})

test('protocols, samplers and their arguments are read', () => {
  const read = (env: Record<string, string>) => readOtlpSettings({ ...endpoint, ...env }, 'x')
  assert.equal(read({})?.encoding, 'protobuf')
  const grpc = read({ OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' })
  assert.deepEqual([grpc?.transport, grpc?.url.href], ['grpc', 'http://collector:4318/'])
  assert.equal(read({ OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json' })?.encoding, 'json')
  assert.deepEqual(read({})?.sampler, { ratio: 1, byParent: true })
  const ratio = { OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '0.25' }
  assert.deepEqual(read(ratio)?.sampler, { ratio: 0.25, byParent: false })
})

test('what cannot be followed is refused with its value', () => {
  const refused = [
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4318' }, /endpoint "collector:4318\/v1\/traces"/],
    [{ ...endpoint, OTEL_EXPORTER_OTLP_PROTOCOL: 'odd' }, /OpenTelemetry protocol "odd"/],
    [{ ...endpoint, OTEL_TRACES_SAMPLER: 'odd' }, /sampler "odd"/],
    [{ ...endpoint, OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '2' }, /0 to 1/],
  ] as const
  for (const [env, message] of refused) {
    assert.throws(() => readOtlpSettings(env, 'x'), message)
  }
})
