/*
 * What releases of Node before 26 do not have and the sources use. The build puts it before the
 * rest of a bundle.
 */

function getOrInsertComputed<K, V>(this: Map<K, V>, key: K, compute: (key: K) => V): V {
  const found = this.get(key)
  if (found !== undefined || this.has(key)) {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it is there, so it is a value
    return found as V
  }
  const value = compute(key)
  this.set(key, value)
  return value
}

if (!('getOrInsertComputed' in Map.prototype)) {
  for (const prototype of [Map.prototype, WeakMap.prototype]) {
    const value = { value: getOrInsertComputed, writable: true, configurable: true }
    Object.defineProperty(prototype, 'getOrInsertComputed', value)
  }
}
