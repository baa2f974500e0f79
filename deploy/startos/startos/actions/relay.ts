import { config } from '../fileModels/config.toml'
import { i18n } from '../i18n'
import { sdk } from '../sdk'

const { InputSpec, Value } = sdk

const spec = InputSpec.of({
  name: Value.text({
    name: i18n('Name'),
    description: i18n('Name of the relay in its public description'),
    required: true,
    default: 'mostrodex',
    maxLength: 64,
  }),
  contact: Value.text({
    name: i18n('Contact'),
    description: i18n('Address for users, for example mailto:you@example.org'),
    required: false,
    default: null,
  }),
  url: Value.text({
    name: i18n('Public address'),
    description: i18n(
      'The wss:// or ws:// address that clients use. Without it proofs of keys are refused.',
    ),
    required: false,
    default: null,
    patterns: [
      {
        regex: '^(wss?://\\S+)?$',
        description: i18n('Must be empty, or a ws:// or wss:// address'),
      },
    ],
  }),
})

export const relaySettings = sdk.Action.withInput(
  'relay-settings',
  async () => ({
    name: i18n('Relay settings'),
    description: i18n('Name, contact and public address of the relay'),
    warning: null,
    allowedStatuses: 'any',
    group: null,
    visibility: 'enabled',
  }),
  spec,
  async () => {
    const relay = await config.read((c) => c.relay).once()
    return {
      name: relay?.name || 'mostrodex',
      contact: relay?.contact || null,
      url: relay?.url || null,
    }
  },
  async ({ effects, input }) => {
    const url = (input.url ?? '').trim()
    // The form checks the pattern; a program that calls the action does not.
    if (url !== '' && !/^wss?:\/\/\S+$/.test(url)) {
      throw new Error(i18n('Must be empty, or a ws:// or wss:// address'))
    }
    await config.merge(effects, {
      relay: { name: input.name, contact: input.contact ?? '', url },
    })
  },
)
