export const short = {
  en_US: 'Nostr relay, index and escrow for peer-to-peer bitcoin orders',
  es_ES: 'Relay de Nostr, índice y custodia para órdenes de bitcoin entre personas',
}

export const long = {
  en_US:
    'Mostrodex follows the orders of all Mostros, serves them as a Nostr relay, finds them by search, and says how far each Mostro is to be trusted. If you turn the escrow on, it is a Mostro of your own over your LND.',
  es_ES:
    'Mostrodex sigue las órdenes de todos los Mostros, las sirve como relay de Nostr, las encuentra por búsqueda y dice cuánta confianza merece cada Mostro. Si activas la custodia, es un Mostro propio sobre tu LND.',
}

export const alerts = {
  uninstall: {
    en_US:
      'While trades are open, the data of the escrow hold the sats of other people. Pause the escrow and wait until no trade is open before you uninstall.',
    es_ES:
      'Mientras haya operaciones abiertas, los datos de la custodia guardan sats de otras personas. Pausa la custodia y espera a que no quede ninguna operación abierta antes de desinstalar.',
  },
  restore: {
    en_US:
      'A backup of the escrow is older than the trades. After the restore keep LND running: the escrow looks up every hold and payment before it acts, and freezes a trade whose payout is in doubt.',
    es_ES:
      'Una copia de la custodia es más vieja que las operaciones. Después de restaurar deja LND en marcha: la custodia consulta cada retención y cada pago antes de actuar, y congela la operación cuyo pago esté en duda.',
  },
}
