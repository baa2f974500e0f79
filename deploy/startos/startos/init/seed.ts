import { config } from '../fileModels/config.toml'
import { sdk } from '../sdk'

// The first installation writes a configuration with the defaults.
export const seed = sdk.setupOnInit(async (effects, kind) => {
  if (kind === 'install') await config.merge(effects, {})
})
