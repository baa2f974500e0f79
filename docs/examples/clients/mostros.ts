// Mostros for a trade, from a mostrodex server: by one request, or by one subscription to its
// relay (NIP-85). This file has no dependency. Copy it, or take what you need.

/** The trade that a user wants. buy: the user wants bitcoin. */
export interface Wish {
  fiat: string
  side: 'buy' | 'sell'
  amount?: string
  method?: string
}

/** A Mostro that serves a trade. The server lists the best first. */
export interface Mostro {
  pubkey: string
  name: string | null
  /** 0 to 100. null: no rank yet, and watchedDays may say why. Never show null as 0. */
  rank: number | null
  watchedDays: number | null
  /** Fraction of the amount for both sides together. */
  fee: string | null
  /** Offers that fit now. 0: the user can publish an order there. */
  offers: number
  takeLink: string | null
  /** Facts that the user must see before a trade. */
  warnings: string[]
}

const isKey = (x: unknown): x is string => typeof x === 'string' && /^[0-9a-f]{64}$/.test(x)
const textOr = (x: unknown): string | null => (typeof x === 'string' && x.length <= 500 ? x : null)
const numberOr = (x: unknown): number | null => (typeof x === 'number' && Number.isFinite(x) ? x : null)
const listOf = (x: unknown): any[] => (Array.isArray(x) ? x.slice(0, 100) : [])

/**
 * Asks a server for the Mostros of a trade. An entry that is not understood is left out.
 * The promise is rejected if the server cannot be reached or refuses the request: use your own
 * list then.
 */
export async function chooseMostros(server: string, wish: Wish): Promise<Mostro[]> {
  const query = new URLSearchParams({ fiat: wish.fiat, side: wish.side })
  if (wish.amount) query.set('amount', wish.amount)
  if (wish.method) query.set('method', wish.method)
  const answer = await fetch(`${server}/api/v1/choose?${query}`, { signal: AbortSignal.timeout(10_000) })
  const body: any = await answer.json()
  if (!answer.ok) throw new Error(textOr(body?.detail) ?? `status ${answer.status}`)
  return listOf(body?.candidates)
    .filter((c) => isKey(c?.pubkey))
    .map((c) => {
      const link = textOr(c.best_offer?.take_link)
      return {
        pubkey: c.pubkey,
        name: textOr(c.name),
        rank: numberOr(c.rank),
        watchedDays: numberOr(c.watched_days),
        fee: textOr(c.fee === null ? null : String(c.fee)),
        offers: numberOr(c.offers) ?? 0,
        takeLink: link?.startsWith('mostro:') ? link : null,
        warnings: listOf(c.warnings).filter((w): w is string => typeof w === 'string'),
      }
    })
}

/** A Nostr event (NIP-01). */
export interface NostrEvent {
  id: string
  pubkey: string
  created_at: number
  kind: number
  tags: string[][]
  content: string
  sig: string
}

const maxRanks = 5000

/**
 * Follows the ranks that a server publishes (NIP-85, kind 30382). provider is the key of the
 * server's ranks, which the user or the author of the app has chosen. verify checks id and
 * signature: verifyEvent of nostr-tools. onRanks is called after the stored events, and after each
 * change. The function returned ends the subscription. Call watchRanks again after onEnd.
 */
export function watchRanks(
  relay: string, provider: string, verify: (e: NostrEvent) => boolean,
  onRanks: (ranks: Map<string, number>) => void, onEnd: () => void = () => {},
): () => void {
  const newest = new Map<string, NostrEvent>(), ranks = new Map<string, number>()
  let stored = false
  const socket = new WebSocket(relay)
  socket.onopen = () => socket.send(JSON.stringify(['REQ', 'ranks', { kinds: [30382], authors: [provider] }]))
  socket.onclose = () => onEnd()
  socket.onmessage = (message) => {
    let frame: any
    try {
      frame = JSON.parse(String(message.data))
    } catch {
      return
    }
    if (!Array.isArray(frame) || frame[1] !== 'ranks') return
    if (frame[0] === 'CLOSED') return socket.close()
    if (frame[0] === 'EOSE') stored = true
    if (frame[0] === 'EVENT' && !take(frame[2])) return
    if (stored) onRanks(new Map(ranks))
  }
  // take reports whether an event changes the ranks. The relay is not trusted: a relay may send
  // events of other keys, changed events and old ones.
  function take(e: NostrEvent): boolean {
    if (e?.kind !== 30382 || e.pubkey !== provider || !Array.isArray(e.tags)) return false
    const tag = (name: string) => e.tags.find((t) => t?.[0] === name)?.[1]
    const about = tag('d'), rank = Number(tag('rank') || NaN), old = newest.get(about ?? '')
    if (!isKey(about) || !Number.isInteger(rank) || rank < 0 || rank > 100) return false
    if (old && (e.created_at < old.created_at || (e.created_at === old.created_at && e.id >= old.id))) return false
    if (!old && newest.size >= maxRanks) return false
    if (!verify(e)) return false
    newest.set(about, e)
    ranks.set(about, rank)
    return true
  }
  return () => socket.close()
}
