import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'

import { DockerRegistry } from '#testing/docker-registry.ts'
import { busyboxImage, busyboxLayer } from '#testing/image.ts'

import { sideBySide } from './pair.ts'

sideBySide('a registry', (pair) => {
  let registry: DockerRegistry | undefined
  before(async () => {
    registry = await DockerRegistry.open()
  })
  after(async () => {
    await registry?.[Symbol.asyncDispose]()
  })

  test('images are pushed, pulled back, and run', async () => {
    const p = pair()
    const name = `${registry?.host}/library/two-layers:1`
    await p.import({
      ...busyboxImage(name),
      layers: [busyboxLayer, { hello: 'from the registry\n' }],
    })
    const plain = ['--plain-http', ...p.local]
    await p.same(['image', 'push', ...plain, name], { codeOnly: true })
    await p.same(['image', 'rm', '--sync', name])
    assert.equal((await p.ctr('content', 'ls', '-q')).stdout, '')
    await p.same(['image', 'pull', ...plain, name], { codeOnly: true })
    await p.same(['image', 'ls'])
    await p.same(['content', 'ls', '-q'])
    await p.same(['image', 'check'])
    await p.same(['snapshot', 'ls'])
    await p.same(['run', '--rm', name, 'p1', 'cat', '/hello'])
    await p.same(['image', 'pull', ...plain, name], { codeOnly: true })
  })

  test('an unknown image is refused with the same words', async () => {
    const p = pair()
    const name = `${registry?.host}/library/missing:1`
    await p.same(['image', 'pull', '--plain-http', ...p.local, name], { stderr: true })
  })
})
