/** What base64 text stands for, if it is that and nothing else; undefined otherwise. Lines may be broken. */
export function fromBase64(text: unknown): Buffer | undefined {
  if (typeof text !== 'string') return undefined
  const bytes = Buffer.from(text, 'base64')
  const line = text.replaceAll(/[\r\n]/g, '')
  return bytes.length > 0 && bytes.toString('base64') === line ? bytes : undefined
}

/** The same for the form without padding that is used in URLs, and in JWS. */
export function fromBase64Url(text: unknown): Buffer | undefined {
  if (typeof text !== 'string') return undefined
  const bytes = Buffer.from(text, 'base64url')
  return bytes.length > 0 && bytes.toString('base64url') === text ? bytes : undefined
}
