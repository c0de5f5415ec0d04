import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Version } from '#gen/services/version_pb.ts'
import { newContext } from '#testing/context.ts'
import { serve } from '#testing/serve.ts'

import { versionApi } from './grpc.ts'

test('the version is a semantic one that clients can compare', async (t) => {
  await using served = await serve(newContext(t), [versionApi()])
  const { version } = await served.connection.client(Version).version({})
  assert.match(version, /^v\d+\.\d+\.\d+\+wharf\.\d+\.\d+\.\d+$/)
})
