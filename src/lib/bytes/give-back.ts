/**
 * Frees the memory of `bytes`, which nobody needs any more, if nothing else is in it: whoever still has them
 * finds them empty. Left to the collector, some 50 MB of buffers come together before that looks.
 */
export function giveBack({ buffer, byteLength }: Uint8Array): void {
  const whole = byteLength === buffer.byteLength
  if (whole && buffer instanceof ArrayBuffer) buffer.transfer(0)
}
