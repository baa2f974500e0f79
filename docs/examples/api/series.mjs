// Implied price of one bitcoin by day: time, price, number of prices.
// Usage: node series.mjs [SERVER]
const server = process.argv[2] ?? 'http://localhost:7777'
const answer = await fetch(`${server}/api/v1/market/USD/series?metric=implied_rate&by=day`)
if (!answer.ok) throw new Error((await answer.json()).detail)
for (const { from, rate, samples } of (await answer.json()).rates) {
  if (rate != null) console.log(from, rate, samples)
}
