// Prints the Mostros for 100 VES as JSON, or the ranks that a server publishes.
// Usage: node main.js choose SERVER FIAT SIDE [AMOUNT]
//        node main.js ranks RELAY PROVIDER
import { verifyEvent } from 'nostr-tools/pure'
import { chooseMostros, watchRanks } from './mostros.js'

declare const process: { argv: string[]; exit(code: number): never }

const [what, where, ...rest] = process.argv.slice(2)
if (what === 'choose') {
  try {
    console.log(JSON.stringify(await chooseMostros(where, { fiat: rest[0], side: rest[1] as 'buy' | 'sell', amount: rest[2] })))
  } catch (error) {
    console.log(JSON.stringify({ error: (error as Error).message }))
  }
} else {
  const close = watchRanks(where, rest[0], verifyEvent, (ranks) => {
    console.log(JSON.stringify(Object.fromEntries(ranks)))
    close()
    process.exit(0)
  })
}
