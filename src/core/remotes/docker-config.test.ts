import assert from 'node:assert/strict'
import { chmod, mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { newContext } from '#testing/context.ts'
import { rejectsWith } from '#testing/rejects.ts'

import { dockerCredentials } from './docker-config.ts'
import type { Environment } from './proxy.ts'
import type { Credentials } from './remotes.ts'

const auth = (pair: string): string => Buffer.from(pair).toString('base64')

const helper = `#!/bin/sh
read server
case "$1 $server" in
  "get a.example") echo '{"ServerURL":"a","Username":"me","Secret":"from helper"}' ;;
  "get t.example") echo '{"ServerURL":"t","Username":"<token>","Secret":"identity"}' ;;
  "get broken.example") echo "secret-of-somebody: broken"; exit 2 ;;
  "get chatty.example") yes secret-of-somebody ;;
  "get odd.example") echo "not json" ;;
  *) echo "credentials not found in native keychain"; exit 1 ;;
esac
`

suite("docker's config", () => {
  /** A home with `config` in it, and with a helper in its `PATH`. */
  const home = async (config: unknown): Promise<{ env: Environment } & AsyncDisposable> => {
    const dir = await mkdtempDisposable(join(tmpdir(), 'docker-config-'))
    const text = typeof config === 'string' ? config : JSON.stringify(config)
    await writeFile(join(dir.path, 'config.json'), text)
    await writeFile(join(dir.path, 'docker-credential-test'), helper)
    await chmod(join(dir.path, 'docker-credential-test'), 0o755)
    return {
      env: { DOCKER_CONFIG: dir.path, PATH: `${dir.path}:${process.env['PATH']}` },
      [Symbol.asyncDispose]: async () => await dir.remove(),
    }
  }

  test('entries are found by the names docker gives them', async (t) => {
    const ctx = newContext(t)
    await using own = await home({
      auths: {
        'reg.example:5000': { auth: auth('me:with:colons') },
        'https://url.example/v1/': { username: 'u', password: 'p' },
        'https://index.docker.io/v1/': { auth: auth('hub:pw'), identitytoken: 'identity' },
        'token.example': { registrytoken: 'bearer' },
        'empty.example': {},
      },
    })
    const find = async (host: string): Promise<Credentials | undefined> =>
      await dockerCredentials(own.env)(ctx, host)
    const password = { kind: 'password', username: 'me', secret: 'with:colons' }
    assert.deepEqual(await find('reg.example:5000'), password)
    assert.equal(await find('reg.example'), undefined)
    assert.deepEqual(await find('url.example'), { kind: 'password', username: 'u', secret: 'p' })
    assert.deepEqual(await find('registry-1.docker.io'), { kind: 'refresh', token: 'identity' })
    assert.deepEqual(await find('token.example'), { kind: 'header', value: 'Bearer bearer' })
    assert.equal(await find('empty.example'), undefined)
  })

  test('helpers are run, for one registry or for all', async (t) => {
    const ctx = newContext(t)
    await using own = await home({
      credHelpers: { 'a.example': 'test', 'gone.example': 'no-such', 'x.example': '../../bin/sh' },
      credsStore: 'test',
      auths: { 'plain.example': { auth: auth('me:plain') } },
    })
    const find = async (host: string): Promise<Credentials | undefined> =>
      await dockerCredentials(own.env)(ctx, host)
    const found = { kind: 'password', username: 'me', secret: 'from helper' }
    assert.deepEqual(await find('a.example'), found)
    assert.deepEqual(await find('t.example'), { kind: 'refresh', token: 'identity' })
    assert.equal(await find('unknown.example'), undefined)
    assert.deepEqual(await find('plain.example'), { ...found, secret: 'plain' })
    await rejectsWith('unavailable', find('gone.example'), /docker-credential-no-such.*not in PATH/)
    await rejectsWith('invalid_argument', find('x.example'), /is not the name of a program/)
    for (const host of ['broken.example', 'chatty.example', 'odd.example']) {
      await assert.rejects(find(host), (err: Error) => {
        assert.match(err.message, /^docker-credential-test /)
        assert.doesNotMatch(err.message, /secret-of-somebody/)
        return true
      })
    }
  })

  test('the environment comes first, and what is no config says where it is, not what', async (t) => {
    const ctx = newContext(t)
    await using own = await home('{"auths": "s3cret')
    const find = dockerCredentials(own.env)
    await assert.rejects(
      async () => await find(ctx, 'a.example'),
      (err: Error) => {
        assert.match(err.message, /config\.json: not JSON/)
        assert.doesNotMatch(err.message, /s3cret/)
        return true
      },
    )
    await using good = await home({ auths: { 'a.example': { auth: auth('file:1') } } })
    const inline = JSON.stringify({ auths: { 'a.example': { auth: auth('inline:1') } } })
    const both = dockerCredentials({ ...good.env, DOCKER_AUTH_CONFIG: inline })
    assert.deepEqual(await both(ctx, 'a.example'), {
      kind: 'password',
      username: 'inline',
      secret: '1',
    })
    const none = dockerCredentials({ HOME: '/nonexistent' })
    assert.equal(await none(ctx, 'a.example'), undefined)
  })
})
