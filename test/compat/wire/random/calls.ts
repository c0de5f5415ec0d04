import { Chooser, type Kind, type RandomCall } from './chooser.ts'
import { contentCall, snapshotCall } from './data.ts'
import { containerCall, imageCall, leaseCall, namespaceCall, sandboxCall } from './records.ts'

const kinds: readonly [Kind, ...Kind[]] = [
  namespaceCall,
  imageCall,
  imageCall,
  containerCall,
  containerCall,
  leaseCall,
  leaseCall,
  snapshotCall,
  snapshotCall,
  snapshotCall,
  contentCall,
  contentCall,
  contentCall,
  sandboxCall,
]

/** Chooses calls, one after the other, in namespaces whose names begin with `prefix`. */
export function chooseCall(seed: number, prefix: string): () => RandomCall {
  const c = new Chooser(seed, prefix)
  return () => c.one(kinds)(c, c.caller())
}
