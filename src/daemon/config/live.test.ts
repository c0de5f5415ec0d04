import assert from 'node:assert/strict'
import { suite, test } from 'node:test'

import { builtins } from '#daemon/builtins.ts'

import { compareConfigs } from './live.ts'
import { parseConfig } from './load.ts'

const parse = (text: string) => parseConfig(`version = 4\n${text}`, builtins)
const gc = 'io.containerd.gc.v1.scheduler'
const overlay = 'io.containerd.snapshotter.v1.overlayfs'
const running = parse(
  `[plugins."${gc}"]\npause_threshold = 0.1\n[timeouts]\na = "1s"\n[debug]\nlevel = "info"`,
)

void suite('a configuration that is read again', () => {
  void test('changes nothing when it says the same in other words', () => {
    const same = parse(
      `[timeouts]\na = "1000ms"\n[debug]\nlevel = "info"\n[plugins]\n"${gc}" = { pause_threshold = 0.1, deletion_threshold = 0 }`,
    )
    const { applied, restart, sections } = compareConfigs(running, same)
    assert.deepEqual([applied, restart, sections.size], [[], [], 0])
  })

  void test('is applied where it can be, and told where it must wait', () => {
    const read = parse(
      `root = "/elsewhere"
[debug]
level = "debug"
format = "json"
[timeouts]
b = "2s"
[stream_processors.p]
path = "/p"
[proxy_plugins.s]
type = "snapshot"
[plugins."${gc}"]
pause_threshold = 0.2
startup_delay = "1s"
[plugins."${overlay}"]
sync_remove = true`,
    )
    const { applied, restart, sections, running: next } = compareConfigs(running, read)
    assert.deepEqual(applied.toSorted(), [
      'debug.format',
      'debug.level',
      `plugins."${gc}".pause_threshold`,
      'stream_processors.p',
      'timeouts.a',
      'timeouts.b',
    ])
    assert.deepEqual(restart.toSorted(), [
      `plugins."${gc}".startup_delay`,
      `plugins."${overlay}".sync_remove`,
      'proxy_plugins.s',
      'root',
    ])
    assert.deepEqual([...sections], [[gc, { ...running.plugins.get(gc), pauseThreshold: 0.2 }]])
    assert.deepEqual([next.root, next.debug.level], [running.root, 'debug'])
    assert.deepEqual([next.timeouts.get('a'), next.timeouts.get('b')], [undefined, 2000])
    // What waits is told again, what was applied is not.
    const again = compareConfigs(next, read)
    assert.deepEqual([again.applied, again.restart.toSorted()], [[], restart.toSorted()])
  })

  void test('says nothing of keys that have no effect', () => {
    const { applied, restart } = compareConfigs(
      running,
      parse(
        `[plugins."${gc}"]\npause_threshold = 0.1\n[timeouts]\na = "1s"\n[debug]\nlevel = "info"\n[plugins."io.containerd.snapshotter.v1.devmapper"]\npool_name = "p"\n[plugins."${overlay}"]\nsink_remove = true`,
      ),
    )
    assert.deepEqual([applied, restart], [[], []])
  })

  void test('has read its imports', () => {
    const text = `[plugins."${gc}"]\npause_threshold = 0.1\n[timeouts]\na = "1s"\n[debug]\nlevel = "info"`
    const read = parse(`imports = ["/none"]\nstrict = true\n${text}`)
    const { applied, restart, running: next } = compareConfigs(running, read)
    assert.deepEqual([applied.toSorted(), restart], [['imports', 'strict'], []])
    assert.deepEqual(compareConfigs(next, read).applied, [])
  })
})
