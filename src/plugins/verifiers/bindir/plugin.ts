import { parseDuration } from '#lib/go/duration.ts'
import { definePlugin } from '#plugin/plugin.ts'
import { ImageVerifierPlugin } from '#plugins/types.ts'

/** `[plugins."io.containerd.image-verifier.v1.bindir"]` in config.toml. */
export interface BinDirConfig {
  readonly binDir: string
  readonly maxVerifiers: number
  readonly perVerifierTimeout: string
  readonly failClosed: boolean
}

const defaults: BinDirConfig = {
  binDir: '/opt/containerd/image-verifier/bin',
  maxVerifiers: 10,
  perVerifierTimeout: '10s',
  failClosed: false,
}

/** Programs that say which images may be pulled. Loaded when the first one is. */
export const binDirPlugin = definePlugin({
  type: ImageVerifierPlugin,
  id: 'bindir',
  config: defaults,
  describe: {
    binDir: 'The directory of programs that are asked before an image is pulled.',
    maxVerifiers: 'Ask no more of them than this; -1 for all.',
    perVerifierTimeout: 'How long each may take; then it is killed, and the image is refused.',
    failClosed:
      'Refuse images when the directory is empty or missing, or has more programs than are asked; containerd lets them through.',
  },
  init({ config }) {
    // Without time for an answer every image is refused: one that fails to start would refuse none.
    const timeoutMs = Math.max(0, parseDuration(config.perVerifierTimeout))
    return {
      async verify(ctx, candidate) {
        const { BinDirVerifier } = await import('./bindir.ts')
        return await new BinDirVerifier({ ...config, timeoutMs }).verify(ctx, candidate)
      },
    }
  },
})
