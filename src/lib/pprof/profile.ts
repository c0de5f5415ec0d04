import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'

/*
 * What `go tool pprof` reads: a protobuf message, usually gzipped. Field numbers are those of
 * https://github.com/google/pprof/blob/main/proto/profile.proto:
 *
 *   Profile    1 sample_type ValueType*   2 sample Sample*   4 location Location*
 *              5 function Function*       6 string_table string*, the first one empty
 *              9 time_nanos  10 duration_nanos  11 period_type ValueType  12 period
 *   ValueType  1 type  2 unit                         strings are indices into string_table
 *   Sample     1 location_id uint64* (leaf first)     2 value int64*, one for each sample_type
 *   Location   1 id    4 line Line*
 *   Line       1 function_id  2 line
 *   Function   1 id    2 name  3 system_name  4 filename  5 start_line
 */

/** What a value means: `cpu` in `nanoseconds`. */
export interface ValueType {
  readonly type: string
  readonly unit: string
}

/** One level of a stack. */
export interface Frame {
  readonly name: string
  readonly file: string
  /** Where the function begins, from 1; 0 when it is not known. */
  readonly startLine: number
}

/** A stack and how much was seen with it. */
export interface StackSample {
  /** Leaf first. */
  readonly frames: readonly Frame[]
  /** One for each sample type. */
  readonly values: readonly number[]
}

/** A profile, independent of what took it. */
export interface Profile {
  readonly sampleTypes: readonly ValueType[]
  readonly samples: readonly StackSample[]
  /** When it began, in ms since the epoch. */
  readonly timeMs: number
  /** How long it was taken, in ms; 0 for a moment. */
  readonly durationMs: number
  /** What lies between two samples. */
  readonly periodType: ValueType
  readonly period: number
}

/** The bytes of `profile`, not compressed. */
export function encodeProfile(profile: Profile): Uint8Array {
  const tables = new Tables()
  const out = new BinaryWriter()
  for (const type of profile.sampleTypes) writeValueType(out, 1, type, tables)
  for (const sample of profile.samples) writeSample(out, sample, tables)
  writeValueType(out, 11, profile.periodType, tables)
  for (const [id, frame] of tables.frames.entries()) writeFrame(out, id + 1, frame, tables)
  // Last, as everything above adds to it.
  for (const text of tables.strings) out.tag(6, WireType.LengthDelimited).string(text)
  out.tag(9, WireType.Varint).int64(BigInt(Math.round(profile.timeMs)) * 1_000_000n)
  out.tag(10, WireType.Varint).int64(BigInt(Math.round(profile.durationMs * 1e6)))
  out.tag(12, WireType.Varint).int64(profile.period)
  return out.finish()
}

/** Strings and frames, each once, by their number. */
class Tables {
  readonly #strings = new Map([['', 0]])
  readonly #ids = new Map<string, number>()
  readonly frames: Frame[] = []

  get strings(): Iterable<string> {
    return this.#strings.keys()
  }

  string(text: string): number {
    return this.#strings.getOrInsertComputed(text, () => this.#strings.size)
  }

  /** From 1: 0 means none. Functions and locations share their numbers. */
  frame(frame: Frame): number {
    const key = `${frame.name}\0${frame.file}\0${frame.startLine}`
    return this.#ids.getOrInsertComputed(key, () => this.frames.push(frame))
  }
}

function writeValueType(
  out: BinaryWriter,
  field: number,
  { type, unit }: ValueType,
  tables: Tables,
): void {
  out.tag(field, WireType.LengthDelimited).fork()
  out.tag(1, WireType.Varint).int64(tables.string(type))
  out.tag(2, WireType.Varint).int64(tables.string(unit))
  out.join()
}

function writeSample(out: BinaryWriter, { frames, values }: StackSample, tables: Tables): void {
  out.tag(2, WireType.LengthDelimited).fork()
  out.tag(1, WireType.LengthDelimited).fork()
  for (const frame of frames) out.uint64(tables.frame(frame))
  out.join()
  out.tag(2, WireType.LengthDelimited).fork()
  for (const value of values) out.int64(Math.round(value))
  out.join()
  out.join()
}

function writeFrame(out: BinaryWriter, id: number, frame: Frame, tables: Tables): void {
  const { name, file, startLine } = frame
  out.tag(4, WireType.LengthDelimited).fork()
  out.tag(1, WireType.Varint).uint64(id)
  out.tag(4, WireType.LengthDelimited).fork()
  out.tag(1, WireType.Varint).uint64(id)
  out.tag(2, WireType.Varint).int64(startLine)
  out.join()
  out.join()
  out.tag(5, WireType.LengthDelimited).fork()
  out.tag(1, WireType.Varint).uint64(id)
  out.tag(2, WireType.Varint).int64(tables.string(name))
  out.tag(3, WireType.Varint).int64(tables.string(name))
  out.tag(4, WireType.Varint).int64(tables.string(file))
  out.tag(5, WireType.Varint).int64(startLine)
  out.join()
}
