import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** Runs openssl; no argument has a space. */
const openssl = async (command: string): Promise<unknown> =>
  await run('openssl', command.split(' '))

const newKey = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'

/** A certificate with its key, as files. */
export interface Certified {
  readonly cert: string
  readonly key: string
}

export interface IssueOptions {
  /** `DNS:localhost,IP:127.0.0.1`; empty for a client. */
  readonly names?: string
  /** From and until when, as `YYYYMMDDHHMMSSZ`; a day from now on when absent. */
  readonly valid?: readonly [from: string, until: string]
}

/** A certificate authority in `dir`, made with openssl. */
export class CertificateAuthority {
  readonly dir: string
  readonly cert: string
  readonly #key: string

  private constructor(dir: string) {
    this.dir = dir
    this.cert = join(dir, 'ca.pem')
    this.#key = join(dir, 'ca.key')
  }

  static async create(dir: string): Promise<CertificateAuthority> {
    const ca = new CertificateAuthority(dir)
    await openssl(
      `req -x509 ${newKey} -days 2 -subj /CN=testing -keyout ${ca.#key} -out ${ca.cert}`,
    )
    // What `openssl ca` keeps its books in: only it can sign for a time that is over.
    await writeFile(join(dir, 'index.txt'), '')
    await writeFile(join(dir, 'ca.cnf'), config(dir))
    return ca
  }

  /** A certificate for `name`, signed by this authority. */
  async issue(name: string, { names = '', valid }: IssueOptions = {}): Promise<Certified> {
    const base = join(this.dir, name)
    const [key, csr, cert, ext] = [`${base}.key`, `${base}.csr`, `${base}.pem`, `${base}.ext`]
    await openssl(`req ${newKey} -subj /CN=${name} -keyout ${key} -out ${csr}`)
    await writeFile(ext, names === '' ? 'basicConstraints=CA:FALSE\n' : `subjectAltName=${names}\n`)
    const days = valid ? `-startdate ${valid[0]} -enddate ${valid[1]}` : '-days 1'
    const signer = `-config ${join(this.dir, 'ca.cnf')} -cert ${this.cert} -keyfile ${this.#key}`
    await openssl(`ca -batch -notext ${signer} -in ${csr} -out ${cert} -extfile ${ext} ${days}`)
    return { cert, key }
  }

  /** The text of its certificate. */
  async pem(): Promise<string> {
    return await readFile(this.cert, 'utf8')
  }
}

const config = (dir: string): string => `[ca]
default_ca = own
[own]
database = ${dir}/index.txt
new_certs_dir = ${dir}
default_md = sha256
rand_serial = yes
policy = any
unique_subject = no
[any]
commonName = supplied
`
