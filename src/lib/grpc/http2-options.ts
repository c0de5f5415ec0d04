/* What both ends ask of node:http2 beyond its defaults. */

/** The window of a stream and of a connection; with Node's 64 KiB an upload runs at a third. */
export const windowBytes: number = 4 * 1024 * 1024

const unlimited = 2 ** 32 - 1

/** For `performServerHandshake` and `connect`. */
export const http2Options = {
  settings: { initialWindowSize: windowBytes, enablePush: false },
  /*
   * Node counts what a stream still had to send when it was reset, and never forgets it: a client
   * that leaves many streams early, as containerd's content reader does, would be told to calm down
   * after this many bytes. Flow control bounds the memory of a stream.
   */
  maxSessionMemory: unlimited,
  /* The same reader resets a stream for every 32 KiB; nghttp2 allows 33 resets per second. */
  streamResetBurst: unlimited,
  streamResetRate: unlimited,
} as const
