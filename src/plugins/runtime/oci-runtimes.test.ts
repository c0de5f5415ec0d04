import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { fromBinary } from '@bufbuild/protobuf'

import { OptionsSchema } from '#gen/types/runc-options_pb.ts'
import { pack } from '#proxy/convert/pack.ts'
import { newContext, recordingLogger } from '#testing/context.ts'

import { OciRuntimes } from './oci-runtimes.ts'

interface Given {
  readonly dir: string
  /** Makes a runtime that says `output` of its version. */
  readonly install: (name: string, output: string) => void
  readonly report: (runtimes: OciRuntimes) => Promise<string>
}

const check = (title: string, body: (given: Given) => Promise<void> | void): void => {
  void test(title, async (t) => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'oci-'))
    await body({
      dir: dir.path,
      install(name, output) {
        writeFileSync(join(dir.path, name), `#!/bin/sh\n${output}\n`, { mode: 0o755 })
      },
      async report(runtimes) {
        const lines: string[] = []
        await runtimes.report({ ...newContext(t), log: recordingLogger(lines) })
        return lines.join('\n')
      },
    })
  })
}

const binaryIn = (options: ReturnType<OciRuntimes['complete']>): string | undefined =>
  options && fromBinary(OptionsSchema, options.value).binaryName

check('runc is taken before crun, as they come and go', ({ dir, install }) => {
  const runtimes = new OciRuntimes('', dir)
  assert.throws(() => runtimes.choose(), {
    code: 'failed_precondition',
    message: /neither runc nor crun is in PATH; install one of them/,
  })
  install('crun', 'true')
  assert.equal(runtimes.choose(), 'crun')
  install('runc', 'true')
  rmSync(join(dir, 'crun'))
  assert.equal(runtimes.choose(), 'runc')
})

check('the configured one is taken and no other', ({ dir, install }) => {
  install('runc', 'true')
  const crun = new OciRuntimes('crun', dir)
  assert.throws(() => crun.choose(), /"crun", oci_runtime in the configuration, is not installed/)
  install('crun', 'true')
  assert.equal(crun.choose(), 'crun')
  const path = join(dir, 'crun')
  assert.equal(new OciRuntimes(path, '').choose(), path)
})

check('options that name none get the one that is taken', ({ dir, install }) => {
  install('crun', 'true')
  const runtimes = new OciRuntimes('', dir)
  assert.equal(binaryIn(runtimes.complete(undefined)), 'crun')
  const given = pack(OptionsSchema, { root: '/r', noPivotRoot: true })
  const completed = runtimes.complete(given)
  assert.ok(completed)
  const { root, noPivotRoot, binaryName } = fromBinary(OptionsSchema, completed.value)
  assert.deepEqual([root, noPivotRoot, binaryName], ['/r', true, 'crun'])
  const named = pack(OptionsSchema, { binaryName: 'youki' })
  assert.equal(runtimes.complete(named), named)
  const others = { typeUrl: 'runtimeoptions.v1.Options', value: Uint8Array.of(1) }
  assert.equal(runtimes.complete(others), others)
  install('runc', 'true')
  rmSync(join(dir, 'crun'))
  assert.equal(runtimes.complete(undefined), undefined)
})

check('a report says versions, and what is wrong', async ({ dir, install, report }) => {
  install('runc', 'echo runc version 0.9.1+x')
  install('crun', 'echo no; exit 3')
  const said = await report(new OciRuntimes('', dir))
  assert.match(said, /info found an OCI runtime .*"version":"0.9.1\+x"/)
  assert.match(said, /warn this OCI runtime is too old .*"oldest":"1.0"/)
  assert.match(said, /warn an OCI runtime does not run .*no: exit status 3/)
  const none = await report(new OciRuntimes('', '/nowhere'))
  assert.match(none, /error no container can be started .*neither runc nor crun/)
})
