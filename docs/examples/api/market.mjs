// Best bid, best ask and rate of a market, the prices per bitcoin.
// Usage: node market.mjs [SERVER]
const server = process.argv[2] ?? 'http://localhost:7777'
const answer = await fetch(`${server}/api/v1/market/USD`)
if (!answer.ok) throw new Error((await answer.json()).detail)
const { bid, ask, rate } = await answer.json()
console.log('bid', bid?.price ?? 'unknown')
console.log('ask', ask?.price ?? 'unknown')
console.log('rate', rate?.price ?? 'unknown')
