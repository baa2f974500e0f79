import { setupManifest } from '@start9labs/start-sdk'
import { alerts, long, short } from './i18n'

export const manifest = setupManifest({
  id: 'mostrodex',
  title: 'Mostrodex',
  license: 'MIT',
  packageRepo: 'https://github.com/mostrodex/mostrodex',
  upstreamRepo: 'https://github.com/mostrodex/mostrodex',
  marketingUrl: 'https://github.com/mostrodex/mostrodex',
  donationUrl: null,
  description: { short, long },
  // state holds the witness of the escrow, which must not be restored together with the data.
  volumes: ['main', 'state'],
  images: {
    mostrodex: {
      source: {
        dockerBuild: { dockerfile: '../Containerfile', workdir: '../..' },
      },
      arch: ['x86_64', 'aarch64'],
    },
  },
  alerts: {
    install: null,
    update: null,
    uninstall: alerts.uninstall,
    restore: alerts.restore,
    start: null,
    stop: null,
  },
  dependencies: {
    lnd: {
      description: 'Needed if the escrow is turned on',
      optional: true,
      metadata: {
        title: 'LND',
        icon: 'https://raw.githubusercontent.com/Start9Labs/lnd-startos/refs/heads/master/icon.svg',
      },
    },
  },
})
