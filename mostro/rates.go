package mostro

const ratesD = "mostro-rates"
