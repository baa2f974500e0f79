package price

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// HTTPSource is a price source on the web.
type HTTPSource struct {
	Provider string   // one of Providers
	URL      string   // base URL; "" for the provider's own
	Mirrors  []string // asked in turn if the address before fails or does not answer
	APIKey   string   // CoinGecko
	Token    string   // El Toque
	Only     []string // currencies; empty: all
	Except   []string
	Now      func() time.Time // for El Toque; nil: the system clock
	Client   *http.Client     // nil: the transport of http.DefaultClient, without redirects to other hosts
}

// Providers are the sources that HTTPSource knows.
const (
	Yadio       = "yadio"
	CoinGecko   = "coingecko"
	CurrencyAPI = "currency_api"
	Blockchain  = "blockchain"
	ElToque     = "eltoque" // the informal market of Cuba: CUP and MLC, by the dollar
)

// coinGeckoFiats are the requested currencies, because CoinGecko has no request for all
// currencies.
const coinGeckoFiats = "usd,aed,ars,aud,bdt,bhd,bmd,brl,cad,chf,clp,cny,czk,dkk,eur,gbp,gel,hkd,huf,idr,ils,inr,jpy,krw,kwd,lkr,mmk,mxn,myr,ngn,nok,nzd,php,pkr,pln,rub,sar,sek,sgd,thb,try,twd,uah,vnd,zar"

type provider struct {
	base, path string
	read       func(body []byte) (map[string]float64, error)
	// official are the currencies that the provider quotes at an official rate, far from the
	// market. They are used only if Only names them.
	official []string
}

func providerOf(name string) (provider, bool) {
	switch name {
	case Yadio:
		return provider{base: "https://api.yadio.io", path: "/exrates/BTC", read: readNested("BTC")}, true
	case CoinGecko:
		return provider{base: "https://api.coingecko.com/api/v3", path: "/simple/price?ids=bitcoin&vs_currencies=" + coinGeckoFiats, read: readNested("bitcoin")}, true
	case CurrencyAPI:
		return provider{base: "https://cdn.jsdelivr.net/npm/@fawazahmed0/currency-api@latest/v1", path: "/currencies/btc.min.json", read: readNested("btc"), official: []string{"CUP", "MLC"}}, true
	case Blockchain:
		return provider{base: "https://blockchain.info", path: "/ticker", read: readTicker}, true
	case ElToque:
		return provider{base: "https://tasas.eltoque.com", path: "/v1/trmi", read: readElToque}, true
	}
	return provider{}, false
}

// Check returns an error if the source's settings cannot work.
func (s HTTPSource) Check() error {
	if _, ok := providerOf(s.Provider); !ok {
		return fmt.Errorf("unknown price provider %q", s.Provider)
	}
	if s.Provider == ElToque && s.Token == "" {
		return errors.New("price provider eltoque: it needs a token")
	}
	if len(s.Only) > 0 && len(s.Except) > 0 {
		return fmt.Errorf("price provider %s: only and except cannot both be set", s.Provider)
	}
	for _, base := range append([]string{s.URL}, s.Mirrors...) {
		if u, err := url.Parse(base); base != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			return fmt.Errorf("price provider %s: %q is not an http address", s.Provider, base)
		}
	}
	return nil
}

// Name returns the provider's id.
func (s HTTPSource) Name() string { return s.Provider }

// Cross reports whether the provider's prices are of the dollar and not of bitcoin.
func (s HTTPSource) Cross() bool { return s.Provider == ElToque }

func (s HTTPSource) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// Fetch asks the provider, and its mirrors in turn. Each address has an equal share of the
// time until ctx ends, so that an address that hangs does not use up the time of the next
// one.
func (s HTTPSource) Fetch(ctx context.Context) (map[string]float64, error) {
	p, ok := providerOf(s.Provider)
	if !ok {
		return nil, s.Check()
	}
	base := s.URL
	if base == "" {
		base = p.base
	}
	var errs []error
	addresses := append([]string{base}, s.Mirrors...)
	for i, base := range addresses {
		body, err := s.getWithin(ctx, share(ctx, len(addresses)-i), strings.TrimSuffix(base, "/")+p.path)
		if err == nil {
			var prices map[string]float64
			if prices, err = p.read(body); err == nil {
				return s.filter(prices, p.official), nil
			}
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// defaultShare is the time of one address if the context has no end.
const defaultShare = 10 * time.Second

// share returns the time of the next address, if that many addresses are left.
func share(ctx context.Context, addresses int) time.Duration {
	end, ok := ctx.Deadline()
	if !ok {
		return defaultShare
	}
	return time.Until(end) / time.Duration(addresses)
}

// getWithin is like get with a time limit, which includes the body.
func (s HTTPSource) getWithin(ctx context.Context, limit time.Duration, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return s.get(ctx, address)
}

// maxPriceBody is the size limit of an answer. The whole table of currency-api has about
// 10 kB.
const maxPriceBody = 1 << 20

func (s HTTPSource) get(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("price request: %w", err)
	}
	if s.Provider == ElToque {
		// The answer is the newest table of the time asked for, which must be less than a day.
		now := s.now().UTC()
		req.URL.RawQuery = url.Values{"date_from": {now.Add(-23 * time.Hour).Format(time.DateTime)}, "date_to": {now.Format(time.DateTime)}}.Encode()
		req.Header.Set("Authorization", "Bearer "+s.Token)
	}
	if s.APIKey != "" && s.Provider == CoinGecko {
		header := "x-cg-demo-api-key"
		if strings.HasPrefix(req.URL.Host, "pro-api.") {
			header = "x-cg-pro-api-key"
		}
		req.Header.Set(header, s.APIKey)
	}
	client := s.Client
	if client == nil {
		client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("price request: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("price request: status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPriceBody+1))
	if err != nil {
		return nil, fmt.Errorf("price answer: %w", err)
	}
	if len(body) > maxPriceBody {
		return nil, errors.New("price answer: too long")
	}
	return body, nil
}

func (s HTTPSource) filter(prices map[string]float64, official []string) map[string]float64 {
	has := func(list []string, code string) bool {
		return slices.ContainsFunc(list, func(c string) bool { return strings.EqualFold(c, code) })
	}
	for code := range prices {
		if len(s.Only) > 0 && !has(s.Only, code) || has(s.Except, code) || len(s.Only) == 0 && has(official, code) {
			delete(prices, code)
		}
	}
	return prices
}

// readNested parses {"<key>": {"USD": 1.0, "VES": null, ...}, ...}. A rate that is null or
// not a number is ignored, and the other rates stay valid.
func readNested(key string) func([]byte) (map[string]float64, error) {
	return func(body []byte) (map[string]float64, error) {
		var answer map[string]json.RawMessage
		if err := json.Unmarshal(body, &answer); err != nil {
			return nil, errors.New("price answer: not a JSON object")
		}
		var rates map[string]json.RawMessage
		if err := json.Unmarshal(answer[key], &rates); err != nil || rates == nil {
			return nil, fmt.Errorf("price answer: no %q in it", key)
		}
		return numbers(rates, func(raw json.RawMessage, v *float64) error { return json.Unmarshal(raw, v) }), nil
	}
}

// readTicker parses {"USD": {"last": 1.0, ...}, ...}.
func readTicker(body []byte) (map[string]float64, error) {
	var answer map[string]json.RawMessage
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, errors.New("price answer: not a JSON object")
	}
	return numbers(answer, func(raw json.RawMessage, v *float64) error {
		var row struct{ Last float64 }
		err := json.Unmarshal(raw, &row)
		*v = row.Last
		return err
	}), nil
}

// readElToque parses {"tasas": {"USD": 490.0, "MLC": 200.0, ...}, ...}, whose values are CUP for
// one unit. The result is in units for one dollar.
func readElToque(body []byte) (map[string]float64, error) {
	pesos, err := readNested("tasas")(body)
	if err != nil {
		return nil, err
	}
	dollar := pesos["USD"]
	if dollar <= 0 {
		return nil, errors.New("price answer: no dollar in it")
	}
	prices := map[string]float64{"CUP": dollar}
	if mlc := pesos["MLC"]; mlc > 0 {
		prices["MLC"] = dollar / mlc
	}
	return prices, nil
}

func numbers(rates map[string]json.RawMessage, read func(json.RawMessage, *float64) error) map[string]float64 {
	prices := make(map[string]float64, len(rates))
	for code, raw := range rates {
		var v float64
		if read(raw, &v) == nil && v > 0 {
			prices[code] = v
		}
	}
	return prices
}
