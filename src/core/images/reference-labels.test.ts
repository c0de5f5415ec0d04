import assert from 'node:assert/strict'
import { test } from 'node:test'

import { mediaTypes } from './oci.ts'
import { digestOf } from '#lib/digest/digest.ts'

import { referenceLabels } from './reference-labels.ts'

const entry = (mediaType: string, name: string) => ({ mediaType, digest: digestOf(name), size: 1 })

test('children are labelled by what they are, each kind with a count of its own', () => {
  const layer = 'application/vnd.oci.image.layer.v1.tar+gzip'
  assert.deepEqual(
    referenceLabels([
      entry(mediaTypes.ociConfig, 'config'),
      entry(layer, 'a'),
      entry(mediaTypes.dockerLayer, 'b'),
      entry(mediaTypes.ociManifest, 'm'),
      entry('application/something', 'x'),
      entry('application/something', 'y'),
    ]),
    {
      'containerd.io/gc.ref.content.config': digestOf('config'),
      'containerd.io/gc.ref.content.l.0': digestOf('a'),
      'containerd.io/gc.ref.content.l.1': digestOf('b'),
      'containerd.io/gc.ref.content.m.0': digestOf('m'),
      'containerd.io/gc.ref.content.0': digestOf('x'),
      'containerd.io/gc.ref.content.1': digestOf('y'),
    },
  )
})
