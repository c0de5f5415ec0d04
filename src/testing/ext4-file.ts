import { execFileSync } from 'node:child_process'
import * as fs from 'node:fs'
import { delimiter, join } from 'node:path'
import { tmpdir } from 'node:os'

/** A file with an empty ext4 of 8 MiB, without the directory for what fsck finds. */
export function ext4File(): Disposable & { readonly path: string } {
  const dir = fs.mkdtempSync(join(tmpdir(), 'ext4-'))
  const path = join(dir, 'file')
  const env = {
    ...process.env,
    PATH: [process.env['PATH'], '/usr/sbin', '/sbin'].join(delimiter),
  }
  fs.writeFileSync(path, '')
  fs.truncateSync(path, 8 << 20)
  execFileSync('mkfs.ext4', ['-q', '-F', '-E', 'root_owner=0:0', path], { env })
  execFileSync('debugfs', ['-w', '-R', 'rmdir lost+found', path], { env, stdio: 'ignore' })
  return { path, [Symbol.dispose]: () => fs.rmSync(dir, { recursive: true }) }
}
