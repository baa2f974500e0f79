import { config } from '../fileModels/config.toml'
import { i18n } from '../i18n'
import { sdk } from '../sdk'
import { mounts, nodeKey } from '../utils'

const { InputSpec, List, Value } = sdk
const fraction = '^0(\\.[0-9]{1,6})?$'

const spec = InputSpec.of({
  enabled: Value.toggle({
    name: i18n('Escrow'),
    description: i18n(
      'Run a Mostro over LND. Real money of other people: read the runbook first.',
    ),
    default: false,
  }),
  fee: Value.text({
    name: i18n('Fee'),
    description: i18n(
      'Fraction of the amount for both sides together, for example 0.006',
    ),
    required: true,
    default: '0.006',
    patterns: [
      {
        regex: fraction,
        description: i18n('Must be a fraction such as 0.006'),
      },
    ],
  }),
  min_sats: Value.number({
    name: i18n('Smallest order (sats)'),
    required: true,
    default: 100,
    integer: true,
    min: 1,
  }),
  max_sats: Value.number({
    name: i18n('Largest order (sats)'),
    required: true,
    default: 1_000_000,
    integer: true,
    min: 1,
  }),
  relays: Value.list(
    List.text(
      {
        name: i18n('Relays to publish to'),
        description: i18n('Relays to which the events of your Mostro are sent'),
        default: ['wss://relay.mostro.network'],
      },
      {
        placeholder: 'wss://relay.mostro.network',
        patterns: [
          {
            regex: '^wss?://\\S+$',
            description: i18n('Must be a ws:// or wss:// address'),
          },
        ],
      },
    ),
  ),
})

export const escrowSettings = sdk.Action.withInput(
  'escrow-settings',
  async () => ({
    name: i18n('Escrow settings'),
    description: i18n(
      'Turn your own Mostro on or off, and set its fee and limits',
    ),
    warning: null,
    allowedStatuses: 'any',
    group: i18n('Escrow'),
    visibility: 'enabled',
  }),
  spec,
  async () => {
    const escrow = await config.read((c) => c.escrow).once()
    return {
      enabled: escrow?.enabled ?? false,
      fee: escrow?.fee ?? '0.006',
      min_sats: escrow?.min_sats ?? 100,
      max_sats: escrow?.max_sats ?? 1_000_000,
      relays: escrow?.publish.relays.length
        ? escrow.publish.relays
        : ['wss://relay.mostro.network'],
    }
  },
  async ({ effects, input }) => {
    const relays = input.relays.map((r) => r.trim()).filter((r) => r !== '')
    // The form checks the patterns; a program that calls the action does not.
    if (relays.some((r) => !/^wss?:\/\/\S+$/.test(r))) {
      throw new Error(i18n('Must be a ws:// or wss:// address'))
    }
    if (!new RegExp(fraction).test(input.fee)) {
      throw new Error(i18n('Must be a fraction such as 0.006'))
    }
    if (input.enabled) await makeKey(effects)
    await config.merge(effects, {
      escrow: {
        enabled: input.enabled,
        key: nodeKey,
        fee: input.fee,
        min_sats: input.min_sats,
        max_sats: input.max_sats,
        publish: { relays },
      },
    })
  },
)

// makeKey makes the key of the node once. `keys new` refuses to write over a file.
async function makeKey(effects: Parameters<typeof sdk.SubContainer.of>[0]) {
  await sdk.SubContainer.withTemp(
    effects,
    { imageId: 'mostrodex' },
    mounts(false),
    'mostrodex-key',
    async (sub) => {
      const has = await sub.exec(
        ['/mostrodex', 'keys', 'show', '--key', nodeKey],
        { user: 'root' },
      )
      if (has.exitCode === 0) return
      await sub.execFail(['/mostrodex', 'keys', 'new', '--key', nodeKey], {
        user: 'root',
      })
    },
  )
}
