// Three cheapest orders for 100 USD: name, sats to receive, cost in percent.
// Usage: node orders.mjs [SERVER]
const server = process.argv[2] ?? 'http://localhost:7777'
const query = new URLSearchParams({ fiat: 'USD', side: 'sell', fiat_amount: '100', sort: 'cost', limit: '3' })
const answer = await fetch(`${server}/api/v1/orders?${query}`)
if (!answer.ok) throw new Error((await answer.json()).detail)
for (const { d, price } of (await answer.json()).items) {
  if (price?.sats != null) console.log(d, price.sats, price.cost_pct)
}
