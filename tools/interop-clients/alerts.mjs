// A client of nostr-tools that was never here before: it saves an alert over HTTP (NIP-98),
// gets one private message (NIP-17) for a matching order, none for others and none after the
// deletion, and does the same by private messages to the relay's key.
//   node alerts.mjs http://127.0.0.1:7777
// It prints one JSON object with the times in milliseconds, or fails with the reason.

import WebSocket from 'ws'

globalThis.WebSocket = WebSocket

const { Relay, useWebSocketImplementation } = await import('nostr-tools/relay')
useWebSocketImplementation(WebSocket)
const { finalizeEvent, generateSecretKey, getPublicKey } = await import('nostr-tools/pure')
const nip17 = await import('nostr-tools/nip17')
const nip98 = await import('nostr-tools/nip98')

const base = process.argv[2]
const own = generateSecretKey()
const mostro = generateSecretKey()
const pubkey = getPublicKey(own)

const fail = (reason) => { console.error(reason); process.exit(1) }
const sleep = (ms) => new Promise((done) => setTimeout(done, ms))

const info = await (await fetch(base, { headers: { Accept: 'application/nostr+json' } })).json()
if (!info.self) fail('the NIP-11 document has no self')

const relay = await Relay.connect(base.replace(/^http/, 'ws'))
const texts = []
const ids = new Set()
relay.subscribe([{ kinds: [1059], '#p': [pubkey] }], {
  onevent(wrap) {
    if (ids.has(wrap.id)) return
    ids.add(wrap.id)
    const rumor = nip17.unwrapEvent(wrap, own)
    if (rumor.kind !== 14 || rumor.pubkey !== info.self) fail(`a message of kind ${rumor.kind} by ${rumor.pubkey}`)
    texts.push({ at: performance.now(), text: rumor.content })
  },
})

async function request(method, path, payload) {
  const url = base + path
  const token = await nip98.getToken(url, method, (e) => finalizeEvent(e, own), true, payload)
  const answer = await fetch(url, { method, headers: { Authorization: token, 'Content-Type': 'application/json' }, body: payload && JSON.stringify(payload) })
  if (!answer.ok) fail(`${method} ${path}: ${answer.status} ${await answer.text()}`)
  return answer.json()
}

async function order(d, fiat, status = 'pending', later = 0) {
  const at = performance.now()
  await relay.publish(finalizeEvent({ kind: 38383, created_at: Math.floor(Date.now() / 1000) + later, content: '', tags: [
    ['d', d], ['k', 'sell'], ['f', fiat], ['s', status], ['amt', '0'], ['fa', '100'], ['pm', 'Zelle'], ['premium', '1'], ['network', 'mainnet'], ['layer', 'lightning'], ['y', 'mostro'], ['z', 'order'],
  ] }, mostro))
  return at
}

const about = (part) => texts.filter(({ text }) => text.includes(part))
async function wait(part) {
  for (const end = performance.now() + 20000; performance.now() < end; await sleep(5)) {
    if (about(part).length > 0) return about(part)[0]
  }
  fail(`no message about ${part}; there are ${JSON.stringify(texts)}`)
}

const result = {}
const alert = await request('POST', '/api/v1/alerts', { filter: 'fiat:VES side:sell premium:<=2' })
await order('other', 'USD')
let began = await order('one', 'VES')
result.first_ms = (await wait('"one"')).at - began
await order('one', 'VES', 'in-progress', 1)
await order('one', 'VES', 'pending', 2)
if ((await request('GET', '/api/v1/alerts')).items.length !== 1) fail('the list has not one alert')
await request('DELETE', `/api/v1/alerts/${alert.id}`)
await order('late', 'VES')

const say = (text) => relay.publish(nip17.wrapEvent(own, { publicKey: info.self }, text))
await say('alert fiat:ARS')
await wait('Saved as')
began = await order('two', 'ARS')
result.second_ms = (await wait('"two"')).at - began
await say('delete all')
await wait('alerts deleted')
await order('last', 'ARS')
await sleep(3000)

for (const [d, n] of Object.entries({ one: 1, two: 1, other: 0, late: 0, last: 0 })) {
  if (about(`"${d}"`).length !== n) fail(`${about(`"${d}"`).length} messages about ${d}, want ${n}`)
}
result.messages = texts.length
console.log(JSON.stringify(result))
process.exit(0)
