import { i18n } from './i18n'
import { sdk } from './sdk'
import { port, relayId, uiId } from './utils'

// One port answers pages and websockets.
export const setInterfaces = sdk.setupInterfaces(async ({ effects }) => {
  const host = sdk.MultiHost.of(effects, 'main')
  const origin = await host.bindPort(port, { protocol: 'http' })
  const ui = sdk.createInterface(effects, {
    name: i18n('Explorer'),
    id: uiId,
    description: i18n('Orders, Mostros, statistics and search'),
    type: 'ui',
    masked: false,
    schemeOverride: null,
    username: null,
    path: '',
    query: {},
  })
  const relay = sdk.createInterface(effects, {
    name: i18n('Relay'),
    id: relayId,
    description: i18n('Nostr clients connect to this address'),
    type: 'api',
    masked: false,
    schemeOverride: { ssl: 'wss', noSsl: 'ws' },
    username: null,
    path: '',
    query: {},
  })
  return [await origin.export([ui, relay])]
})
