import { i18n } from '../i18n'
import { sdk } from '../sdk'
import { configFile, dataDir, mounts } from '../utils'
import { config } from '../fileModels/config.toml'

type Effects = Parameters<typeof sdk.SubContainer.of>[0]

// run runs a verb beside the service and returns what it prints. The verbs of trades ask the
// running service over the socket in the data directory.
async function run(effects: Effects, args: string[]): Promise<string> {
  const lnd = (await config.read((c) => c.escrow.enabled).once()) ?? false
  return sdk.SubContainer.withTemp(
    effects,
    { imageId: 'mostrodex' },
    mounts(lnd),
    'mostrodex-verb',
    async (sub) => {
      const out = await sub.exec(['/mostrodex', ...args], {
        user: 'root',
      })
      return `${out.stdout}${out.stderr}`.trim()
    },
  )
}

const verb = (
  id: string,
  name: Parameters<typeof i18n>[0],
  description: Parameters<typeof i18n>[0],
  allowedStatuses: 'any' | 'only-running',
  args: string[],
) =>
  sdk.Action.withoutInput(
    id,
    async () => ({
      name: i18n(name),
      description: i18n(description),
      warning: null,
      allowedStatuses,
      group: i18n('Operation'),
      visibility: 'enabled' as const,
    }),
    async ({ effects }) => ({
      version: '1' as const,
      title: i18n(name),
      message: null,
      result: {
        type: 'single' as const,
        value: (await run(effects, args)) || i18n('Done'),
        masked: false,
        copyable: true,
        qr: false,
      },
    }),
  )

export const pause = verb(
  'pause',
  'Pause new trades',
  'No new order and no taker is accepted. Open trades go on.',
  'only-running',
  ['pause', '--data', dataDir],
)
export const resume = verb(
  'resume',
  'Resume new trades',
  'New orders and takers are accepted again.',
  'only-running',
  ['resume', '--data', dataDir],
)
export const trades = verb(
  'trades',
  'Open trades',
  'List the open trades of the escrow',
  'only-running',
  ['trade', 'list', '--data', dataDir],
)
export const check = verb(
  'check',
  'Check',
  'Check the configuration, LND, the clock, the disk and the relays',
  'any',
  ['doctor', '-c', configFile],
)
