import { sdk } from './sdk'

// Without the volume state: its witness says whether restored data are an older copy. StartOS stops
// the service for a backup, so that the files belong together.
export const { createBackup, restoreInit } = sdk.setupBackups(async () =>
  sdk.Backups.ofVolumes('main'),
)
