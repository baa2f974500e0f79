import { config } from './fileModels/config.toml'
import { sdk } from './sdk'

// LND is needed only while the escrow is on.
export const setDependencies = sdk.setupDependencies(async ({ effects }) => {
  const enabled = await config.read((c) => c.escrow.enabled).const(effects)
  if (!enabled) return {}
  return {
    lnd: {
      kind: 'running',
      versionRange: '>=0.18.5-beta:0',
      healthChecks: ['sync-progress'],
    },
  }
})
