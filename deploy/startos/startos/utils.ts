import { sdk } from './sdk'

export const port = 7777
export const uiId = 'ui'
export const relayId = 'relay'

// Paths within the container. The image sets MOSTRODEX_DATA=/data and XDG_STATE_HOME=/state.
export const dataDir = '/data'
export const configFile = `${dataDir}/mostrodex.toml`
export const nodeKey = `${dataDir}/mostro.key`
export const lndMount = '/lnd'
export const lndPaths = {
  address: 'lnd.startos:10009',
  cert: `${lndMount}/tls.cert`,
  macaroon: `${lndMount}/data/chain/bitcoin/mainnet/admin.macaroon`,
} as const

/** The volumes of the service. LND's files are read only. */
export const mounts = (withLnd: boolean) => {
  const own = sdk.Mounts.of()
    .mountVolume({
      volumeId: 'main',
      subpath: null,
      mountpoint: dataDir,
      readonly: false,
    })
    .mountVolume({
      volumeId: 'state',
      subpath: null,
      mountpoint: '/state',
      readonly: false,
    })
  if (!withLnd) return own
  return own.mountDependency({
    dependencyId: 'lnd',
    volumeId: 'main',
    subpath: null,
    mountpoint: lndMount,
    readonly: true,
  })
}
