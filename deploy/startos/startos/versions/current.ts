import { IMPOSSIBLE, VersionInfo } from '@start9labs/start-sdk'

export const current = VersionInfo.of({
  version: '0.1.0:0',
  releaseNotes: {
    en_US: 'The first version. See CHANGELOG.md.',
    es_ES: 'La primera versión. Ver CHANGELOG.md.',
  },
  migrations: {
    up: async () => {},
    // An older program refuses data of a newer one.
    down: IMPOSSIBLE,
  },
})
