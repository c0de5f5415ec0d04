import { stringify } from 'smol-toml'

import { encodeTable, isTable, type Table, toSnake } from '#lib/toml/decode.ts'
import { formatDuration } from '#lib/go/duration.ts'
import type { Plugin } from '#plugin/plugin.ts'
import { defaultTimeouts } from '#plugin/settings.ts'

import { meanings, settings, timeoutMeanings } from './default.ts'
import { isLive } from './live.ts'

/** Every key that has an effect, with its default and meaning: tables in Markdown. */
export function referenceText(plugins: readonly Plugin[]): string {
  const sections = plugins
    .filter(({ config }) => Object.keys(config).length > 0)
    .toSorted((a, b) => (a.uri < b.uri ? -1 : 1))
    .map((plugin) => `### \`[plugins."${plugin.uri}"]\`\n\n${tableOf(rowsOf(plugin))}`)
  return [
    `### Above the plugins\n\n${tableOf(settingRows(plugins))}`,
    `### \`[timeouts]\`\n\n${tableOf(timeoutRows)}`,
    ...sections,
  ].join('\n')
}

interface Row {
  readonly key: string
  readonly byDefault: unknown
  readonly meaning: string
  readonly live: boolean
}

function settingRows(plugins: readonly Plugin[], table: Table = encodeTable(settings), above = '') {
  return Object.entries(table).flatMap(([name, value]): Row[] => {
    const key = above + name
    if (isTable(value)) return settingRows(plugins, value, `${key}.`)
    const live = isLive(key.split('.'), plugins)
    return [{ key, byDefault: value, meaning: meanings[key] ?? '', live }]
  })
}

const timeoutRows: readonly Row[] = Object.entries(defaultTimeouts).map(([name, ms]) => ({
  key: JSON.stringify(name),
  byDefault: formatDuration(ms),
  meaning: timeoutMeanings[name] ?? '',
  live: true,
}))

const rowsOf = ({ config, describe, live }: Plugin): readonly Row[] =>
  Object.entries(config).map(([name, value]: [string, unknown]) => ({
    key: toSnake(name),
    byDefault: value,
    meaning: describe[name] ?? '',
    live: live.includes(name),
  }))

const tableOf = (rows: readonly Row[]): string =>
  [
    '| key | default | meaning | on SIGHUP |',
    '|---|---|---|---|',
    ...rows.map(
      ({ key, byDefault, meaning, live }) =>
        `| \`${key}\` | \`${tomlOf(byDefault)}\` | ${meaning} | ${live ? 'applied' : ''} |`,
    ),
    '',
  ].join('\n')

function tomlOf(value: unknown): string {
  if (Array.isArray(value) && value.some(isTable)) return `[${value.map(inlineOf).join(', ')}]`
  return stringify({ value })
    .replace(/^value = /, '')
    .trim()
}

const inlineOf = (value: unknown): string =>
  isTable(value)
    ? `{ ${Object.entries(value)
        .map(([key, field]) => `${key} = ${tomlOf(field)}`)
        .join(', ')} }`
    : tomlOf(value)
