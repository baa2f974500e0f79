import { config } from './fileModels/config.toml'
import { i18n } from './i18n'
import { sdk } from './sdk'
import { configFile, mounts } from './utils'

export const main = sdk.setupMain(async ({ effects }) => {
  console.info(i18n('Starting Mostrodex'))
  const enabled =
    (await config.read((c) => c.escrow.enabled).const(effects)) ?? false
  if (enabled) {
    const dependencies = await sdk.checkDependencies(effects)
    dependencies.throwIfNotSatisfied()
  }
  // A change of the settings starts the program again.
  await config.read().const(effects)
  const subcontainer = await sdk.SubContainer.of(
    effects,
    { imageId: 'mostrodex' },
    mounts(enabled),
    'mostrodex',
  )
  return sdk.Daemons.of(effects).addDaemon('primary', {
    subcontainer,
    exec: {
      command: ['/mostrodex', 'serve', '--config', configFile],
      // The image has no user database: the volumes belong to root of the container.
      user: 'root',
      sigtermTimeout: 60_000,
    },
    ready: {
      display: i18n('Relay, index and scores'),
      gracePeriod: 300_000,
      fn: async () => {
        const answer = await subcontainer.exec(['/mostrodex', 'health'], {
          user: 'root',
        })
        return answer.exitCode === 0
          ? { result: 'success', message: i18n('Everything answers') }
          : {
              result: 'loading',
              message: i18n('The index or the scores are not ready yet'),
            }
      },
    },
    requires: [],
  })
})
