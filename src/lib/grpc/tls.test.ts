import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempDisposable, readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { type Call, implement } from '#lib/rpc/rpc.ts'
import { Test, allTexts, text, textOf, texts } from '#lib/rpc/suite/service.ts'
import { echo } from '#lib/rpc/suite/serving.ts'

import { connectGrpc } from './client.ts'
import { listenGrpc } from './server.ts'

const skip = hasOpenssl() ? false : 'openssl is not installed'

function hasOpenssl(): boolean {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

suite('gRPC over TLS', { skip, timeout: 30_000 }, () => {
  test('a client that trusts the certificate is served, another is not', async () => {
    await using dir = await mkdtempDisposable(join(tmpdir(), 'grpc-tls-'))
    const [keyFile, certFile] = [join(dir.path, 'key'), join(dir.path, 'cert')]
    const made = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']
    const files = ['-keyout', keyFile, '-out', certFile]
    execFileSync('openssl', ['req', '-x509', ...made, ...subject, ...files], { stdio: 'ignore' })
    const [key, cert] = [await readFile(keyFile), await readFile(certFile)]
    await using server = await listenGrpc(
      { host: '127.0.0.1', port: 0, tls: { key, cert } },
      { services: [implement<Call, typeof Test>(Test, echo)], context: (call: Call) => call },
    )
    const target = `127.0.0.1:${server.port}`
    const trusting = { ca: cert, servername: 'localhost' }
    await using connection = await connectGrpc(target, { tls: trusting })
    const client = connection.client(Test)
    assert.equal(textOf(await client.unary(text('a'))), 'a')
    assert.deepEqual(await allTexts(client.chat(texts('a', 'b'))), ['a!', 'b!'])
    await assert.rejects(connectGrpc(target, { tls: { servername: 'localhost' } }), {
      code: 'unavailable',
      message: /self-signed/,
    })
    await connection[Symbol.asyncDispose]()
  })
})
