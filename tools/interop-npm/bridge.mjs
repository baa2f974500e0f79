// Reads one JSON request per line and writes one JSON object per line. Each request
// names the library that performs it: "nostr-tools" (JavaScript, noble curves) or
// "nostr-sdk" (rust-nostr compiled to WebAssembly).

import { createInterface } from 'node:readline'

import { schnorr } from '@noble/curves/secp256k1.js'
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, hexToBytes, utf8ToBytes } from '@noble/hashes/utils.js'
import { HDKey } from '@scure/bip32'
import { mnemonicToSeedSync } from '@scure/bip39'
import { finalizeEvent, getPublicKey, verifyEvent } from 'nostr-tools'
import * as nip04 from 'nostr-tools/nip04'
import * as nip13 from 'nostr-tools/nip13'
import * as nip44 from 'nostr-tools/nip44'
import * as nip59 from 'nostr-tools/nip59'
import sdk from '@rust-nostr/nostr-sdk'

sdk.loadWasmSync()

// The operations of nostr-tools. wasm below has the same operations of nostr-sdk.
const tools = {
  verify: (event) => verifyEvent({ ...event }),
  sign: (event, key) => finalizeEvent({ kind: event.kind, created_at: event.created_at, tags: event.tags, content: event.content }, hexToBytes(key)),
  difficulty: (event, bits) => nip13.getPow(event.id) >= bits,
  mine(event, key, bits) {
    const mined = nip13.minePow({ ...event, pubkey: getPublicKey(hexToBytes(key)) }, bits)
    return this.sign(mined, key)
  },
  encrypt44: (key, peer, text) => nip44.encrypt(text, nip44.getConversationKey(hexToBytes(key), peer)),
  decrypt44: (key, peer, payload) => nip44.decrypt(payload, nip44.getConversationKey(hexToBytes(key), peer)),
  encrypt04: (key, peer, text) => nip04.encrypt(key, peer, text),
  decrypt04: (key, peer, payload) => nip04.decrypt(key, peer, payload),
  async wrap(rumor, key, to) {
    return nip59.createWrap(nip59.createSeal(rumor, hexToBytes(key), to), to)
  },
  async unwrapWhole(wrap, key) {
    return nip59.unwrapEvent(wrap, hexToBytes(key))
  },
  derive(words, index) {
    const node = HDKey.fromMasterSeed(mnemonicToSeedSync(words)).derive(`m/44'/1237'/38383'/0/${index}`)
    return bytesToHex(node.privateKey)
  },
}

const secret = (hex) => sdk.SecretKey.parse(hex)
const pubkey = (hex) => sdk.PublicKey.parse(hex)
const plain = (thing) => JSON.parse(thing.asJson())

const wasm = {
  verify: (event) => sdk.Event.fromJson(JSON.stringify(event)).verify(),
  sign(event, key) {
    const keys = sdk.Keys.parse(key)
    return plain(sdk.UnsignedEvent.fromJson(JSON.stringify({ ...event, pubkey: keys.publicKey.toHex() })).signWithKeys(keys))
  },
  difficulty: (event, bits) => sdk.Event.fromJson(JSON.stringify(event)).checkPow(bits),
  mine(event, key, bits) {
    const tags = event.tags.map((tag) => sdk.Tag.parse(tag))
    return plain(new sdk.EventBuilder(new sdk.Kind(event.kind), event.content).tags(tags).customCreatedAt(sdk.Timestamp.fromSecs(event.created_at)).pow(bits).signWithKeys(sdk.Keys.parse(key)))
  },
  encrypt44: (key, peer, text) => sdk.nip44Encrypt(secret(key), pubkey(peer), text, sdk.NIP44Version.V2),
  decrypt44: (key, peer, payload) => sdk.nip44Decrypt(secret(key), pubkey(peer), payload),
  encrypt04: (key, peer, text) => sdk.nip04Encrypt(secret(key), pubkey(peer), text),
  decrypt04: (key, peer, payload) => sdk.nip04Decrypt(secret(key), pubkey(peer), payload),
  async wrap(rumor, key, to) {
    const signer = sdk.NostrSigner.keys(sdk.Keys.parse(key))
    // fromJson keeps the rumor's key, which differs from the seal's key.
    const seal = await (await sdk.EventBuilder.seal(signer, pubkey(to), sdk.UnsignedEvent.fromJson(JSON.stringify(rumor)))).sign(signer)
    return plain(sdk.EventBuilder.giftWrapFromSeal(pubkey(to), seal))
  },
  async unwrapWhole(wrap, key) {
    const gift = await sdk.UnwrappedGift.fromGiftWrap(sdk.NostrSigner.keys(sdk.Keys.parse(key)), sdk.Event.fromJson(JSON.stringify(wrap)))
    return plain(gift.rumor)
  },
  derive: (words, index) => sdk.Keys.fromMnemonic(words, null, 38383, 0, index).secretKey.toHex(),
}

const libraries = { 'nostr-tools': tools, 'nostr-sdk': wasm }

// Mostro's own formats, in plain JavaScript with noble's curves.
const signText = (text, key) => bytesToHex(schnorr.sign(sha256(utf8ToBytes(text)), hexToBytes(key)))
const verifyText = (text, sig, key) => schnorr.verify(hexToBytes(sig), sha256(utf8ToBytes(text)), hexToBytes(key))
const proofText = (trade, message) => `mostro-transport-v2-identity:${trade}:${message}`
const publicOf = (key) => getPublicKey(hexToBytes(key))

function must(ok, what) {
  if (!ok) throw new Error(what)
}

// checkTuple verifies the signature and the proof of a tuple and returns its message as JSON.
function checkTuple(text, arity, trade) {
  const tuple = JSON.parse(text)
  must(tuple.length === arity, `a tuple of ${tuple.length}`)
  const message = JSON.stringify(tuple[0])
  must(text.startsWith('[' + message), 'the message is not compact')
  if (tuple[1] !== null) must(verifyText(message, tuple[1], trade), 'the trade key did not sign')
  const proof = tuple[2] ?? null
  if (proof !== null) must(verifyText(proofText(trade, message), proof[1], proof[0]), 'the identity did not sign')
  return { message, signed: tuple[1] !== null, identity: proof === null ? trade : proof[0] }
}

const ops = {
  sealV2(lib, r) {
    const trade = publicOf(r.trade)
    const sig = r.signed ? signText(r.message, r.trade) : null
    const proof = r.identity === r.trade ? null : [publicOf(r.identity), signText(proofText(trade, r.message), r.identity)]
    const text = `[${r.message}, ${JSON.stringify(sig)}, ${JSON.stringify(proof)}]` // the mobile client writes spaces between the elements
    return { event: lib.sign({ kind: 14, created_at: r.now, tags: [['p', r.to]], content: lib.encrypt44(r.trade, r.to, text) }, r.trade) }
  },
  openV2(lib, r) {
    must(lib.verify(r.event), 'event does not verify')
    return { ...checkTuple(lib.decrypt44(r.key, r.event.pubkey, r.event.content), 3, r.event.pubkey), sender: r.event.pubkey }
  },
  async sealV1(lib, r) {
    const sig = r.signed ? signText(r.message, r.trade) : null
    const rumor = { pubkey: publicOf(r.trade), created_at: r.now, kind: 1, tags: [['p', r.to]], content: `[${r.message}, ${JSON.stringify(sig)}]` }
    return { event: await lib.wrap(rumor, r.identity, r.to) }
  },
  async openV1(lib, r) {
    must(lib.verify(r.event), 'wrap does not verify')
    const seal = JSON.parse(lib.decrypt44(r.key, r.event.pubkey, r.event.content))
    must(seal.kind === 13 && lib.verify(seal), 'seal does not verify')
    const rumor = JSON.parse(lib.decrypt44(r.key, seal.pubkey, seal.content))
    must(rumor.kind === 1, 'rumor is of another kind')
    const opened = checkTuple(rumor.content, 2, rumor.pubkey)
    if (r.whole) must((await lib.unwrapWhole(r.event, r.key)).content === rumor.content, 'the library unwraps something else')
    return { ...opened, sender: rumor.pubkey, identity: seal.pubkey }
  },
  sealLegacy(lib, r) {
    return { event: lib.sign({ kind: 4, created_at: r.now, tags: [['p', r.to]], content: lib.encrypt04(r.trade, r.to, r.message) }, r.trade) }
  },
  openLegacy(lib, r) {
    must(lib.verify(r.event), 'event does not verify')
    return { message: lib.decrypt04(r.key, r.event.pubkey, r.event.content), sender: r.event.pubkey }
  },
  mine: (lib, r) => ({ event: lib.mine({ kind: 14, created_at: r.now, tags: [['p', r.to]], content: 'x' }, r.trade, r.bits) }),
  worked: (lib, r) => ({ ok: lib.difficulty(r.event, r.bits), more: lib.difficulty(r.event, r.bits + 1) }),
  encrypt44: (lib, r) => ({ text: lib.encrypt44(r.key, r.to, r.text) }),
  decrypt44: (lib, r) => ({ text: lib.decrypt44(r.key, r.to, r.text) }),
  derive: (lib, r) => ({ text: lib.derive(r.words, r.index) }),
}

for await (const line of createInterface({ input: process.stdin })) {
  let reply
  try {
    const request = JSON.parse(line)
    reply = await ops[request.op](libraries[request.lib], request)
  } catch (error) {
    reply = { error: String(error?.message ?? error) }
  }
  process.stdout.write(JSON.stringify(reply) + '\n')
}
