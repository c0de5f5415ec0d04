import { randomUUID } from 'node:crypto'
import { mkdir, open, readFile, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'

const uuidPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/**
 * The name this root directory has for ever, from `<dir>/uuid`; made when it is first asked for.
 *
 * @throws a plain error when the file holds something else; the system's errors.
 */
export async function readOrMakeUuid(dir: string): Promise<string> {
  const path = join(dir, 'uuid')
  const text = await readIfThere(path)
  if (text === '') return await makeUuid(dir, path)
  if (!uuidPattern.test(text)) throw new Error(`invalid UUID ${JSON.stringify(text)} in ${path}`)
  return text
}

/** The inode that names the pid namespace of `pid`, so that clients know whose pids they see. */
export async function pidNamespace(pid: number): Promise<bigint> {
  const { ino } = await stat(`/proc/${pid}/ns/pid`, { bigint: true })
  return ino
}

async function readIfThere(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (err) {
    if (err instanceof Error && 'code' in err && err.code === 'ENOENT') return ''
    throw err
  }
}

async function makeUuid(dir: string, path: string): Promise<string> {
  const uuid = randomUUID()
  const temporary = `${path}.${process.pid}.tmp`
  await mkdir(dir, { recursive: true, mode: 0o700 })
  {
    await using file = await open(temporary, 'w', 0o644)
    await file.writeFile(uuid)
    await file.sync()
  }
  await rename(temporary, path)
  return uuid
}
