import assert from 'node:assert/strict'
import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'

import { newContext, recordingLogger } from '#testing/context.ts'
import { rejectsWith } from '#testing/rejects.ts'

import { RegistryClient } from './client.ts'
import { hostsOf } from './hosts.ts'
import { parseHostsFile } from './hosts-toml.ts'
import { allCapabilities } from './profile.ts'

const path = '/certs/reg.example/hosts.toml'
const parse = (text: string) => parseHostsFile(text, path).hosts

suite('hosts.toml', () => {
  test('hosts come in the order of the file, the server last', () => {
    const hosts = parse(`
server = "reg.example"
[host."https://z.example"]
[host."http://a.example:5000".header]
x-first = "set before its table"
[host."http://a.example:5000"]
[host."https://m.example/v2/up"]
override_path = true
[host."https://n.example/up/"]
`)
    assert.deepEqual(
      hosts.map(({ url }) => url),
      [
        { scheme: 'https', host: 'z.example', path: '/v2' },
        { scheme: 'http', host: 'a.example:5000', path: '/v2' },
        { scheme: 'https', host: 'm.example', path: '/v2/up' },
        { scheme: 'https', host: 'n.example', path: '/up/v2' },
        { scheme: 'https', host: 'reg.example', path: '/v2' },
      ],
    )
    assert.deepEqual(hosts[1]?.header, { 'x-first': ['set before its table'] })
  })

  test('certificates are one or many, and relative to the file', () => {
    const [one, list, pairs] = parse(`
[host."https://a"]
ca = "a.pem"
client = "both.pem"
[host."https://b"]
ca = ["/x/a.pem", "b.pem"]
client = ["c.pem", "d.pem"]
[host."https://c"]
client = [["c.cert", "/x/c.key"], ["both.pem", ""]]
skip_verify = true
dial_timeout = "1m30s"
capabilities = ["Pull", "resolve"]
`)
    assert.deepEqual(one?.ca, ['/certs/reg.example/a.pem'])
    assert.deepEqual(one?.client, [{ cert: '/certs/reg.example/both.pem', key: '' }])
    assert.deepEqual(list?.ca, ['/x/a.pem', '/certs/reg.example/b.pem'])
    assert.equal(list?.client.length, 2)
    assert.deepEqual(pairs?.client, [
      { cert: '/certs/reg.example/c.cert', key: '/x/c.key' },
      { cert: '/certs/reg.example/both.pem', key: '' },
    ])
    assert.equal(pairs?.skipVerify, true)
    assert.equal(pairs?.dialTimeoutMs, 90_000)
    assert.deepEqual(pairs?.capabilities, ['pull', 'resolve'])
    assert.deepEqual(one?.capabilities, allCapabilities)
  })

  test('what is wrong is named with file, line and key', () => {
    const bad: readonly (readonly [string, RegExp])[] = [
      [
        'server = 5',
        /hosts file "\/certs\/reg\.example\/hosts\.toml", line 1: server must be a string/,
      ],
      ['server = "ftp://a"', /server "ftp:\/\/a" is not the URL of a host/],
      ['server = "https://u:p@a"', /server must not hold a user or password/],
      ['\nca = 1', /line 2: ca must be a list, not a number/],
      ['capabilities = ["pull", "shove"]', /capabilities "shove" is not one of pull, resolve/],
      ['skip_verify = "yes"', /skip_verify must be true or false, not a string/],
      ['dial_timeout = "soon"', /dial_timeout unable to parse soon/],
      ['client = [["a"]]', /client must hold paths, or pairs/],
      ['[header]\n"x y" = "z"', /header\."x y" is not the name of a header/],
      ['[header]\nx = [1]', /header\.x must hold a string each/],
      ['[host."https://a"]\nca = 1', /line 2: host\."https:\/\/a"\.ca must be a list/],
      ['[host', /hosts file .*, line 1: /],
    ]
    for (const [text, message] of bad) assert.throws(() => parse(text), message, text)
  })

  test('keys that mean nothing are warned of', () => {
    const { warnings } = parseHostsFile(
      'skip_verfy = true\n[host."https://a"]\nserver = "b"\n',
      path,
    )
    assert.match(
      warnings.join('\n'),
      /line 1: skip_verfy is not known, did you mean "skip_verify"\?/,
    )
    assert.match(warnings.join('\n'), /line 3: host\."https:\/\/a"\.server is not known/)
  })
})

suite('hosts of a registry', () => {
  const one = async (
    t: { signal: AbortSignal },
    registry: string,
    options: Parameters<typeof hostsOf>[2] = {},
  ) => {
    const [host] = await hostsOf(newContext(t), registry, options)
    assert.ok(host)
    const { scheme, plainFallback, tls } = host
    return [`${scheme}://${host.host}${host.path}`, plainFallback, tls.skipVerify]
  }

  test('without a file: https, but for this machine, where plain HTTP may be', async (t) => {
    assert.deepEqual(await one(t, 'docker.io'), ['https://registry-1.docker.io/v2', false, false])
    assert.deepEqual(await one(t, 'reg.example:5000'), [
      'https://reg.example:5000/v2',
      false,
      false,
    ])
    assert.deepEqual(await one(t, 'localhost:5000'), ['https://localhost:5000/v2', true, true])
    assert.deepEqual(await one(t, '[::1]:5000'), ['https://[::1]:5000/v2', true, true])
    assert.deepEqual(await one(t, '127.0.0.1:443'), ['https://127.0.0.1:443/v2', false, true])
    assert.deepEqual(await one(t, '127.0.0.1:80'), ['http://127.0.0.1:80/v2', false, false])
    assert.deepEqual(await one(t, 'localhost'), ['https://localhost/v2', false, true])
    // A name that only begins like this machine's is another one.
    assert.deepEqual(await one(t, '127.0.0.1.example:5000'), [
      'https://127.0.0.1.example:5000/v2',
      false,
      false,
    ])
    const plain = { scheme: 'http' } as const
    assert.deepEqual(await one(t, 'reg.example', plain), ['http://reg.example/v2', false, false])
    assert.deepEqual(await one(t, 'docker.io', plain), [
      'https://registry-1.docker.io/v2',
      false,
      false,
    ])
  })

  test('directories are looked for by port, name and _default, root by root', async (t) => {
    const ctx = newContext(t)
    await using dir = await mkdtempDisposable(join(tmpdir(), 'hosts-'))
    const put = async (name: string, text: string): Promise<void> => {
      await mkdir(join(dir.path, name), { recursive: true })
      await writeFile(join(dir.path, name, 'hosts.toml'), text)
    }
    const roots = { hostsDirs: [join(dir.path, 'none'), join(dir.path, 'a'), join(dir.path, 'b')] }
    const names = async (registry: string): Promise<readonly string[]> =>
      (await hostsOf(ctx, registry, roots)).map(({ host }) => host)
    await put('b/_default', '[host."https://mirror.example"]')
    assert.deepEqual(await names('reg.example'), ['mirror.example', 'reg.example'])
    await put('a/reg.example:5000', 'server = "https://by-colon"')
    assert.deepEqual(await names('reg.example:5000'), ['by-colon'])
    await put('a/reg.example_5000_', 'server = "https://by-underscore"')
    assert.deepEqual(await names('reg.example:5000'), ['by-underscore'])
    // What is changed counts at once.
    await put('a/reg.example_5000_', 'server = "https://changed"')
    assert.deepEqual(await names('reg.example:5000'), ['changed'])
  })

  test('a file that cannot be used is an error, and a strange key a warning', async (t) => {
    const lines: string[] = []
    const ctx = { ...newContext(t), log: recordingLogger(lines) }
    await using dir = await mkdtempDisposable(join(tmpdir(), 'hosts-'))
    const file = join(dir.path, 'reg.example', 'hosts.toml')
    await mkdir(join(dir.path, 'reg.example'))
    await writeFile(file, 'skip_verfy = true')
    const options = { hostsDirs: [dir.path] }
    await hostsOf(ctx, 'reg.example', options)
    assert.match(lines.join(), /skip_verfy is not known/)
    await writeFile(file, 'ca = "missing.pem"')
    await assert.rejects(hostsOf(ctx, 'reg.example', options), /ENOENT.*missing\.pem/)
    await writeFile(join(dir.path, 'reg.example', 'bad.pem'), 'no certificate')
    await writeFile(file, 'ca = "bad.pem"')
    const loading = hostsOf(ctx, 'reg.example', options)
    await rejectsWith('invalid_argument', loading, /unable to load CA certificate ".*bad\.pem"/)
    await writeFile(file, 'x'.repeat(2_000_000))
    await rejectsWith('resource_exhausted', hostsOf(ctx, 'reg.example', options), /larger than/)
  })

  test('are plain data, that a client elsewhere can be made from', async (t) => {
    const ctx = newContext(t)
    await using dir = await mkdtempDisposable(join(tmpdir(), 'hosts-'))
    await mkdir(join(dir.path, 'reg.example'))
    await writeFile(join(dir.path, 'reg.example', 'hosts.toml'), '[host."https://mirror.example"]')
    await using here = new RegistryClient({ hostsDirs: [dir.path] })
    const profiles = structuredClone(await here.profiles(ctx, 'reg.example/a/b:1'))
    await using there = new RegistryClient({ profiles })
    assert.deepEqual(await there.profiles(ctx, 'reg.example/a/b:1'), profiles)
    assert.deepEqual(
      profiles['reg.example']?.map(({ host }) => host),
      ['mirror.example', 'reg.example'],
    )
  })
})
