/*
 * What keeps secrets out of logs, errors and labels. Everything that a registry said, and every URL,
 * goes through `redact` before anybody sees it: secrets that were sent or received are known by
 * value, and what looks like one is taken out by its shape.
 */

const placeholder = 'REDACTED'
const rememberAtMost = 256
const shortestSecret = 4

const shapes: readonly (readonly [RegExp, string])[] = [
  [/\b(Basic|Bearer)\s+[A-Za-z0-9._~+/=-]{4,}/gi, `$1 ${placeholder}`],
  [/\b([a-z][a-z0-9+.-]*:\/\/)[^\s/@"']+@/gi, `$1${placeholder}@`],
  [
    /(["']?(?:access_|refresh_|identity)?token["']?\s*[:=]\s*["']?)[^\s"'&,}]+/gi,
    `$1${placeholder}`,
  ],
  [/(["']?(?:password|passwd|secret)["']?\s*[:=]\s*["']?)[^\s"'&,}]+/gi, `$1${placeholder}`],
  [/\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*/g, placeholder],
]

/** Knows the secrets of one client. */
export class Redactor {
  readonly #secrets = new Set<string>()

  /** Remembers `secret`, and the forms in which it travels. The oldest are forgotten. */
  keep(secret: string): void {
    if (secret.length < shortestSecret) return
    for (const form of [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)]) {
      this.#secrets.delete(form)
      this.#secrets.add(form)
    }
    for (const oldest of this.#secrets) {
      if (this.#secrets.size <= rememberAtMost) break
      this.#secrets.delete(oldest)
    }
  }

  /** `text` without secrets. */
  redact(text: string): string {
    let clean = text
    for (const secret of this.#secrets) clean = clean.replaceAll(secret, placeholder)
    for (const [shape, replacement] of shapes) clean = clean.replace(shape, replacement)
    return clean
  }

  /** A URL for people: without user, and without the values of its query but for `ns`. */
  url(url: URL): string {
    if (url.search === '' && url.username === '' && url.password === '')
      return this.redact(url.href)
    const shown = new URL(url)
    shown.username = ''
    shown.password = ''
    for (const key of new Set(shown.searchParams.keys())) {
      if (!shownParameters.has(key)) shown.searchParams.set(key, placeholder)
    }
    return this.redact(shown.href)
  }
}

const shownParameters = new Set(['ns', 'n', 'artifactType', 'digest', 'mount', 'from'])
