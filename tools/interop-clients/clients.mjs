// Runs the relay clients of nostr-tools and NDK. It reads one JSON request per line:
//   {"op":"open","lib":"nostr-tools"|"ndk","url":...,"sub":...,"filters":[...]}
//   {"op":"publish","lib":...,"url":...,"event":{...}}
//   {"op":"close","sub":...}
// and writes one JSON object per line for each event, EOSE, CLOSED and OK:
//   {"sub":...,"event":id} {"sub":...,"eose":true} {"sub":...,"closed":reason} {"ok":id,"error":...}

import { createInterface } from 'node:readline'

import WebSocket from 'ws'

globalThis.WebSocket = WebSocket

const { Relay, useWebSocketImplementation } = await import('nostr-tools/relay')
useWebSocketImplementation(WebSocket)
const { default: NDK, NDKEvent, NDKRelaySet, NDKSubscriptionCacheUsage } = await import('@nostr-dev-kit/ndk')

const say = (thing) => process.stdout.write(JSON.stringify(thing) + '\n')
const open = new Map()

const tools = new Map() // url -> Relay
async function toolsRelay(url) {
  if (!tools.has(url)) tools.set(url, Relay.connect(url))
  return tools.get(url)
}

const ndks = new Map()
async function ndkFor(url) {
  if (!ndks.has(url)) {
    ndks.set(url, (async () => {
      const ndk = new NDK({ explicitRelayUrls: [url], enableOutboxModel: false, autoConnectUserRelays: false })
      await ndk.connect(5000)
      return ndk
    })())
  }
  return ndks.get(url)
}

const libraries = {
  'nostr-tools': {
    async open({ url, sub, filters }) {
      const relay = await toolsRelay(url)
      const s = relay.subscribe(filters, {
        id: sub,
        eoseTimeout: 20000,
        onevent: (event) => say({ sub, event: event.id }),
        oneose: () => say({ sub, eose: true }),
        onclose: (reason) => { if (open.has(sub)) say({ sub, closed: String(reason) }) },
      })
      open.set(sub, () => s.close())
    },
    async publish({ url, event }) {
      const relay = await toolsRelay(url)
      await relay.publish(event)
    },
  },
  ndk: {
    async open({ url, sub, filters }) {
      const ndk = await ndkFor(url)
      const s = ndk.subscribe(filters, {
        subId: sub, closeOnEose: false, groupable: false, cacheUsage: NDKSubscriptionCacheUsage.ONLY_RELAY,
        relaySet: NDKRelaySet.fromRelayUrls([url], ndk),
      }, false)
      s.on('event', (event) => say({ sub, event: event.id }))
      s.on('eose', () => say({ sub, eose: true }))
      s.on('closed', (_relay, reason) => say({ sub, closed: String(reason) }))
      s.start()
      open.set(sub, () => s.stop())
    },
    async publish({ url, event }) {
      const ndk = await ndkFor(url)
      await new NDKEvent(ndk, event).publish(NDKRelaySet.fromRelayUrls([url], ndk), 10000)
    },
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  try {
    if (request.op === 'close') {
      const close = open.get(request.sub)
      open.delete(request.sub)
      close?.()
    } else if (request.op === 'publish') {
      await libraries[request.lib].publish(request)
      say({ ok: request.event.id })
    } else {
      await libraries[request.lib].open(request)
    }
  } catch (error) {
    say({ sub: request.sub, ok: request.event?.id, error: String(error) })
  }
}
process.exit(0)
