import { FileHelper, z } from '@start9labs/start-sdk'
import { sdk } from '../sdk'
import { lndPaths, nodeKey } from '../utils'

// The keys of mostrodex.toml that the package sets. deploy/mostrodex.example.toml lists all keys.
const shape = z.object({
  relay: z
    .object({
      name: z.string().catch('mostrodex'),
      contact: z.string().catch(''),
      url: z.string().catch(''),
      // The proxy of StartOS names no client.
      import_local: z.boolean().catch(false),
      listen: z.string().catch('0.0.0.0:7777'),
      federation: z
        .object({ forward: z.array(z.string()).catch([]) })
        .catch({ forward: [] }),
    })
    .catch({
      name: 'mostrodex',
      contact: '',
      url: '',
      import_local: false,
      listen: '0.0.0.0:7777',
      federation: { forward: [] },
    }),
  escrow: z
    .object({
      enabled: z.boolean().catch(false),
      key: z.string().catch(nodeKey),
      fee: z.string().catch('0.006'),
      min_sats: z.number().int().catch(100),
      max_sats: z.number().int().catch(1_000_000),
      publish: z
        .object({ relays: z.array(z.string()).catch([]) })
        .catch({ relays: [] }),
      lnd: z
        .object({
          address: z.string().catch(lndPaths.address),
          cert: z.string().catch(lndPaths.cert),
          macaroon: z.string().catch(lndPaths.macaroon),
        })
        .catch({ ...lndPaths }),
    })
    .catch({
      enabled: false,
      key: nodeKey,
      fee: '0.006',
      min_sats: 100,
      max_sats: 1_000_000,
      publish: { relays: [] },
      lnd: { ...lndPaths },
    }),
})

export const config = FileHelper.toml(
  { base: sdk.volumes.main, subpath: 'mostrodex.toml' },
  shape,
)
