import { BlockList, isIP } from 'node:net'

import { isLoopback } from './reference.ts'

/** The variables of an environment. */
export type Environment = Readonly<Record<string, string | undefined>>

/**
 * The proxy for `url`, by `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`, in capitals or small letters;
 * undefined for a direct connection. This machine itself is never asked through a proxy.
 *
 * Source: Go `golang.org/x/net/http/httpproxy`.
 */
export function proxyFor(url: URL, env: Environment): string | undefined {
  const secure = url.protocol === 'https:'
  const proxy = secure ? either(env, 'HTTPS_PROXY') : either(env, 'HTTP_PROXY')
  if (proxy === '' || isLoopback(url.host)) return undefined
  const port = url.port === '' ? (secure ? '443' : '80') : url.port
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase()
  const excluded = either(env, 'NO_PROXY')
    .split(',')
    .map((rule) => rule.trim().toLowerCase())
    .filter((rule) => rule !== '')
    .some((rule) => excludes(rule, host, port))
  if (excluded) return undefined
  return proxy.includes('://') ? proxy : `http://${proxy}`
}

const either = (env: Environment, name: string): string =>
  env[name] ?? env[name.toLowerCase()] ?? ''

/** `*`, an address, a range of addresses, `.domain`, or `domain`, which has its subdomains; with or without a port. */
function excludes(rule: string, host: string, port: string): boolean {
  if (rule === '*') return true
  if (rule.includes('/')) return inRange(rule, host)
  if (isIP(rule) !== 0) return rule === host
  const [, name = '', onPort] = /^\[?(.*?)\]?(?::(\d+))?$/.exec(rule) ?? []
  if (onPort !== undefined && onPort !== port) return false
  if (isIP(name) !== 0) return name === host
  const domain = name.replace(/^\*?\./, '')
  return host.endsWith(`.${domain}`) || (host === domain && domain === name)
}

function inRange(rule: string, host: string): boolean {
  const [network = '', bits = ''] = rule.split('/')
  const family = isIP(network)
  if (family === 0 || family !== isIP(host) || !/^\d{1,3}$/.test(bits)) return false
  if (Number(bits) > (family === 4 ? 32 : 128)) return false
  const type = family === 4 ? 'ipv4' : 'ipv6'
  const list = new BlockList()
  list.addSubnet(network, Number(bits), type)
  return list.check(host, type)
}
