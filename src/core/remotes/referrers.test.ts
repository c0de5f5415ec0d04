import assert from 'node:assert/strict'
import { test } from 'node:test'

import { newContext, recordingLogger } from '#testing/context.ts'
import { Hostile, layer, openClient } from '#testing/hostile-registry.ts'

test('a registry that has no referrers, or does not know of any, is no news', async (t) => {
  await using registry = await Hostile.open((_request, response) => response.writeHead(404).end())
  await using client = openClient()
  const lines: string[] = []
  const ctx = { ...newContext(t), log: recordingLogger(lines) }
  const fetcher = await client.fetcher(ctx, `${registry.host}/team/app:1`)
  assert.deepEqual(await fetcher.referrers(ctx, layer.digest), [])
  assert.ok(registry.asked.some(({ url }) => url.includes('/referrers/')))
  const said = lines.filter((line) => line.includes('registry host failed'))
  assert.ok(said.length > 0)
  for (const line of said) assert.match(line, /^debug /)
})
