// Reads the exports of a running server with hyparquet, by ranges of HTTP. Arguments: the address
// of the server, a month (2026-09). The output is one JSON object with figures.
import { asyncBufferFromUrl, parquetReadObjects } from 'hyparquet'

const [base, month] = [process.argv[2].replace(/\/$/, ''), process.argv[3]]
const [year, number] = month.split('-')
const begin = Date.UTC(year, number - 1), end = Date.UTC(year, number)

async function rows(name, columns) {
  const file = await asyncBufferFromUrl({ url: `${base}/api/v1/export/${name}/year=${year}/month=${number}/${name}.parquet` })
  return parquetReadObjects({ file, columns })
}

const trades = (await rows('trades', ['success_at', 'amount_sats', 'side', 'methods'])).filter(r => r.success_at >= begin && r.success_at < end)
const sats = list => list.reduce((sum, r) => sum + Number(r.amount_sats), 0)
const orders = new Map()
for (const v of await rows('history', ['pubkey', 'd', 'created_at', 'withdrawn'])) {
  const key = v.pubkey + v.d
  if (!v.withdrawn && !(orders.get(key) <= v.created_at)) orders.set(key, v.created_at)
}
console.log(JSON.stringify({
  'orders.created': [...orders.values()].filter(t => t >= begin && t < end).length,
  'orders.completed': trades.length,
  'volume.sats': sats(trades),
  'volume.buy_sats': sats(trades.filter(r => r.side === 'buy')),
  'volume.largest': Math.max(...trades.map(r => Number(r.amount_sats))),
}))
