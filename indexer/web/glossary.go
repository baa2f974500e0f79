package web

// glossary has the meaning of a field if its struct tag does not: by "Type.field", else by "field".
// internal/openapi reads it for the OpenAPI document and for docs/api.md.
var glossary = map[string]string{
	"about": "text of the profile", "age": "seconds from the newest price to the end of the bucket", "any_currency": "every currency is accepted", "apply_to": "who pays a bond",
	"badge": "path of the badge (SVG)", "bid": "best offer of a maker who buys", "ask": "best offer of a maker who sells", "bond_enabled": "takers pay a bond", "by": "width of a bucket",
	"cancelled_early": "taken orders that were canceled before their time was up", "censored": "orders that left untaken: canceled, ended, or still open", "claimed": "by signed events of the node",
	"clash": "other key with the same name", "close": "last price of the period", "costed": "by events whose fee a development fund confirms", "coverage": "on which events the answer rests",
	"cumulative": "sats at this level and at all better ones", "currencies": "accepted currencies", "d": "name of the order, unique for its publisher", "description": "text of the order",
	"dev_fee_sats": "sum of the development fees", "dev_fees": "records of paid development fees", "disputes": "disputes", "enabled": "bonds are in use", "ended_late": "trades that ended after their time",
	"escrow_mode": "how the node holds bitcoin", "event_id": "id of the signed event", "event_kind": "kind of the event", "excluded_total": "number of excluded candidates", "executed": "prices of executed orders",
	"expiration_hours": "life of an order", "expired": "orders that expired", "failures": "trades that failed", "fee": "fraction of the amount, both sides together", "fiat": "currency code", "fiats": "currencies of its orders",
	"fiat_amount": "amount of fiat, or its range", "first": "first of these", "flags": "warnings", "formula": "how the value is computed", "fraction": "share of the amount", "gap_pct": "premium of the buy minus premium of the sell",
	"high": "upper bound", "low": "lower bound", "hi": "upper bound of the value", "lo": "lower bound of the value", "history": "versions of the order, the newest first", "infos": "info events", "instance": "publisher of the order",
	"items": "rows of this page", "kind": "kind of the event, or of the figure", "last": "last of these", "last_notice": "last notice of the relay", "last_reason": "reason with which the last connection was closed",
	"layer": "lightning or onchain", "level_pct": "lower bound of the step, in percent over the reference rate", "lightning_alias": "name of the Lightning node", "lightning_key": "public key of the Lightning node",
	"lightning_networks": "networks of the Lightning node", "maintenance": "the node takes no new orders", "maker_rating": "rating of the maker, as the publisher states it", "market": "name of the market",
	"max": "greatest value", "mean": "mean rating", "median": "seconds until half of the orders are taken", "method": "payment method", "methods": "payment methods", "metric": "name of the metric", "metrics": "figures by name",
	"min": "least value", "name": "name that the publisher states", "network": "network of bitcoin", "next_cursor": "parameter cursor of the next page", "num_trades": "executed orders", "omitted": "taken orders without a published end",
	"open": "open orders, or first price of the period", "open_sats": "sats of the open orders", "order": "path of the order", "order_id": "name of the order", "orders": "number of orders", "offers": "orders on offer", "page": "path of the page for people",
	"parallel": "no signed rate is known", "payment_method": "payment methods, separated by commas", "picture": "address of the picture, not loaded by this server", "platform": "software of the publisher", "pow": "bits of work that the node requires",
	"premium_pct": "premium over the market price", "price": "price of the order for an amount", "protocol_version": "version of Mostro's protocol", "proven": "ratings with a proof of a trade", "provisional": "the value rests on claims",
	"pubkey": "public key", "range": "window of the answer", "rank": "lower bound of the value, as a whole number", "rate": "price of one bitcoin", "ratings": "ratings", "raw_status": "status as the publisher writes it",
	"received_by": "road on which the event arrived", "refused": "events that this relay refused", "relay": "address of the relay", "relays": "relays that the node names", "resolved": "disputes with an end", "reviews": "number of ratings",
	"road": "live, backfill, import, client or self", "events": "number of events", "samples": "prices behind the rate", "sats": "sum of the known sizes", "seconds": "time since the first version", "at_risk": "orders open just before",
	"side": "what the maker does", "signed": "median of the rates of known signers at the end of the bucket", "silent": "orders that the node no longer mentions", "software": "software of the relay", "source": "link to the order",
	"split": "dimension of the groups", "status": "state of the order", "stats": "path of all metrics", "steps": "share of the orders that are not taken after some time", "successes": "completed trades", "survival": "share of the orders that are not taken yet",
	"take_link": "link with which the order is taken", "taken": "orders that were taken", "text": "text of the rating", "total": "number of rows on all pages", "trades": "completed trades", "unit": "unit of the value",
	"unresolved": "disputes without an end", "until": "end, not included", "from": "begin", "user_ratings": "ratings of users", "value": "value of the figure", "version": "version of the software", "versions": "number of versions",
	"watched_days": "days on which events were witnessed", "website": "address of the website", "witnessed": "by events that this relay received in time", "amount_sats": "sats", "volume_sats": "sum of the completed amounts",
	"buys": "makers who buy", "sells": "makers who sell", "best_offer": "offer with the lowest cost", "bond": "the node's policy of bonds", "facets": "numbers of all matching orders by value", "rating": "rating",
	"min_amount": "least amount of bitcoin, decimal", "amount": "amount of bitcoin, decimal", "volume": "amount of fiat, decimal", "period_start": "begin of the period", "volume_left": "executed amount of bitcoin", "volume_right": "executed amount of fiat",
	"trade_date": "time of the success", "base_sats": "part of the bond that does not depend on the amount", "min_order_sats": "least order that the node takes", "max_order_sats": "greatest order that the node takes", "buy_event_id": "order of the maker who buys", "sell_event_id": "order of the maker who sells",
	"created_at": "created_at of the event, as its author signed it", "event_ids": "ids of both versions", "generated_at_unix": "time of the answer", "first_seen_at": "receipt of the first event", "last_seen_at": "receipt of the last event", "info_event_id": "newest info event",
	"step_pct": "width of a level", "expires_at": "end of the time in which the order can be taken", "published_at": "time of the first version, as the publisher states it", "min_sats": "least order", "max_sats": "greatest order", "from_unix": "begin of the window", "until_unix": "end of the window, not included",
	"btc": "price of one bitcoin", "age_seconds": "age of the rate", "received": "events that the relay sent", "kept": "events that were new here", "held_already": "events that were here before", "malformed": "events that cannot be parsed", "offered_and_not_given": "events that the relay named in a comparison and did not send",
	"bytes": "bytes received", "exposure_sats": "amount that the evidence can secure", "first_witnessed_at": "receipt of the first witnessed event", "last_witnessed_at": "receipt of the last witnessed event", "witnessed_days": "days with a witnessed event", "received_at": "receipt by this relay",
	"BisqPeriod.high": "greatest price of the period", "BisqPeriod.low": "least price of the period", "Component.name": "name of the component", "Clash.name": "the name", "Choice.network": "network of bitcoin", "Reputation.disputes": "disputes that were witnessed",
	"Definition.unit": "unit of the values", "InstanceList.items": "instances of this page", "RatePoint.rate": "trimmed mean of the prices", "RatePoint.low": "lower bound of the 95 % interval", "RatePoint.high": "upper bound of the 95 % interval",
	"RatePoint.open": "prices of open orders", "KindCount.kind": "kind", "SourceCounts.first": "receipt of the first event", "SourceCounts.last": "receipt of the last event", "Survival.kind": "inferred", "Survival.taken": "orders that were taken",
	"SurvivalStep.taken": "orders taken at this age", "MarketSeries.kind": "observed, witnessed or inferred", "Links.ratings": "path of the ratings", "Links.method": "path of the page about the method", "Links.instance": "path of the instance",
	"Price.rate": "rate behind the price", "Signed.price": "median of the rates", "Choice.price": "price behind the amounts", "Best.price": "price of one bitcoin", "Facets.method": "by payment method", "Facets.fiat": "by currency", "Facets.side": "by side",
	"Facets.status": "by status", "Facets.platform": "by platform", "Policy.version": "version of the node's software", "Candidate.name": "name that the node states", "Order.kind": "kind of the event", "Order.versions": "versions that this relay holds",
}

// sources says where the fields of a type come from, if their struct tags do not.
var sources = map[string]string{
	"Order": "event 38383", "Version": "event 38383", "Rating": "tag rating", "Range": "tag fa", "Instance": "events 38385 and 0", "Bond": "event 38385", "Author": "events 38385 and 0", "Publisher": "events 38383", "Policy": "event 38385", "PolicyChange": "event 38385",
	"Score": "docs/reputation.md", "Component": "docs/reputation.md", "ReputationEvidence": "docs/reputation.md", "Evidence": "docs/reputation.md", "Triple": "docs/reputation.md", "Flag": "docs/reputation.md", "Reputation": "docs/reputation.md", "Ratings": "events 31986",
	"ReputationRating": "event 31986", "Equivocation": "events 38383", "RelayHealth": "this relay", "RelayCounts": "this relay", "RelayList": "this relay", "KindList": "this relay", "KindCount": "this relay", "Coverage": "this relay", "SourceCounts": "this relay",
	"Source": "the event", "Signed": "events 30078", "RateRef": "operator or events 30078", "Definition": "docs/statistics.md",
	"": "computed", // all other types
}
