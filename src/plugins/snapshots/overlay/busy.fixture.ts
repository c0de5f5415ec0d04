import { silent as log } from '#core/context.ts'

import { OverlaySnapshotter } from './overlay.ts'

/*
 * The program that a test kills: it makes, commits and removes snapshots until then. It says
 * `<key> made` when one is there, and `<key> going` before it goes.
 */

const [, , root = '', prefix = ''] = process.argv
const ctx = { signal: new AbortController().signal, log }
const options = { asyncRemove: false, upperdirLabel: false, mountOptions: [] }
const snapshotter = await OverlaySnapshotter.open(ctx, root, options)

const say = (key: string, what: 'made' | 'going'): void => {
  process.stdout.write(`${key} ${what}\n`)
}

async function work(worker: number): Promise<never> {
  let parent = ''
  for (let at = 0; ; at++) {
    const key = `${prefix}-${worker}-${at}`
    await snapshotter.prepare(ctx, key, parent)
    say(key, 'made')
    if (at % 3 === 0) continue
    say(key, 'going')
    if (at % 3 === 1) await snapshotter.remove(ctx, key)
    else {
      await snapshotter.commit(ctx, `${key}-layer`, key)
      say(`${key}-layer`, 'made')
      parent = `${key}-layer`
    }
  }
}

await Promise.all([0, 1, 2, 3].map(work))
