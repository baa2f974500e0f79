package mostro

import "net/url"

// Names of lnp2pBot and its forks in a y tag.
const (
	PlatformLnp2pBot = "lnp2pbot"
	PlatformTelegram = "telegram" // forks, named in the second y value
)

// lnp2pBotDialect is the dialect of lnp2pBot and of its forks on Telegram.
var lnp2pBotDialect = dialect{
	platforms: []string{PlatformLnp2pBot, PlatformTelegram},
	instance:  true,
	ratingMax: 5,
	promises:  func(_ *Order, u *url.URL, host string) bool { return onWeb(u) && host == "t.me" },
}
