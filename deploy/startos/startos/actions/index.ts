import { sdk } from '../sdk'
import { check, pause, resume, trades } from './operate'
import { escrowSettings } from './escrow'
import { relaySettings } from './relay'

export const actions = sdk.Actions.of()
  .addAction(relaySettings)
  .addAction(escrowSettings)
  .addAction(pause)
  .addAction(resume)
  .addAction(trades)
  .addAction(check)
