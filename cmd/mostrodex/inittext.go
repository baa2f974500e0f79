package main

import (
	"fmt"
	"strings"
	"text/template"
)

// language is the language in which init speaks and comments.
type language int

const (
	english language = iota
	spanish
)

var languages = []string{english: "en", spanish: "es"}

// phrase is a text in each language.
type phrase [2]string

// parse sets the language by its name, or by the environment if the name is "".
func (l *language) parse(name string, getenv func(string) string) error {
	if name == "" {
		for _, key := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
			if name = getenv(key); name != "" {
				break
			}
		}
		if strings.HasPrefix(name, "es") {
			*l = spanish
		}
		return nil
	}
	switch strings.ToLower(name) {
	case "en", "english", "inglés", "ingles":
		*l = english
	case "es", "español", "espanol", "spanish":
		*l = spanish
	default:
		return fmt.Errorf("%q is neither en nor es", name)
	}
	return nil
}

// These are the questions of init.
var (
	textHello = phrase{
		"This program asks a few questions and writes a configuration. Nothing is written before the\nlast answer. Enter alone takes the answer in brackets; \"none\" stands for no value.",
		"Este programa hace unas preguntas y escribe una configuración. No escribe nada antes de la\núltima respuesta. Enter solo toma la respuesta entre corchetes; \"ninguno\" es ningún valor.",
	}
	askConfig = phrase{"Which file should be written?", "¿Qué archivo se escribe?"}
	askRuns   = phrase{
		`Which parts should run on this machine?
  node    relay, index with explorer, and scores of Mostros; no money
  mostro  the same, and a Mostro of your own on your Lightning node
  relay   only the relay
  index   only index and explorer: events come from other relays
  escrow  only the Mostro: its clients use a relay elsewhere`,
		`¿Qué partes corren en esta máquina?
  node    relay, índice con explorador y reputación de Mostros; sin dinero
  mostro  lo mismo y un Mostro propio sobre tu nodo Lightning
  relay   solo el relay
  index   solo índice y explorador: los eventos vienen de otros relays
  escrow  solo el Mostro: sus clientes usan un relay en otra parte`,
	}
	askData = phrase{
		"Which directory holds the data? A Mostro's trades and preimages are in it: use a disk that you\ntrust.",
		"¿Qué directorio guarda los datos? Contiene las operaciones y preimágenes de un Mostro: usa un\ndisco de confianza.",
	}
	askURL = phrase{
		"What is the public address? The mobile app accepts only wss://, port 443, a domain name without a\npath, such as wss://relay.example.com. \"none\": only this machine can use the program.",
		"¿Cuál es la dirección pública? La app móvil acepta solo wss://, puerto 443, un dominio sin ruta,\ncomo wss://relay.example.com. \"ninguna\": solo esta máquina puede usar el programa.",
	}
	askProxy = phrase{
		"Does a proxy with TLS on this machine, such as Caddy or nginx, pass connections on? (yes, no)",
		"¿Un proxy con TLS en esta máquina, como Caddy o nginx, pasa las conexiones? (sí, no)",
	}
	askListen = phrase{
		"On which address should the relay listen? 127.0.0.1 is right behind a proxy.",
		"¿En qué dirección escucha el relay? 127.0.0.1 es lo correcto detrás de un proxy.",
	}
	askPrivate = phrase{
		"On which address should metrics and the dispute inbox be? Never open it to others.",
		"¿En qué dirección están las métricas y la bandeja de disputas? Nunca la abras a otros.",
	}
	askPublish = phrase{
		"To which relays should own events (orders, scores) be sent? Separate them by commas. Clients find\norders on relays that they know.",
		"¿A qué relays se envían los eventos propios (órdenes, reputación)? Sepáralos con comas. Los\nclientes encuentran órdenes en los relays que conocen.",
	}
	askName = phrase{"What is the public name?", "¿Cuál es el nombre público?"}
	askKey  = phrase{
		"Whoever has the key of a Mostro is this Mostro. \"none\" makes a new key. To keep an existing\nMostro, name the file of its key (hex, nsec or seed phrase).",
		"Quien tiene la clave de un Mostro es ese Mostro. \"ninguna\" crea una clave nueva. Para conservar\nun Mostro existente, nombra el archivo de su clave (hex, nsec o frase semilla).",
	}
	askLNDAddress  = phrase{"Where does LND listen for gRPC (rpclisten in lnd.conf)?", "¿Dónde escucha LND por gRPC (rpclisten en lnd.conf)?"}
	askLNDCert     = phrase{"Where is LND's tls.cert?", "¿Dónde está el tls.cert de LND?"}
	askLNDMacaroon = phrase{
		"Where is the macaroon? Do not use admin.macaroon: a thief of it owns the node. A smaller one can\nbe baked afterwards; this program will print the command.",
		"¿Dónde está el macaroon? No uses admin.macaroon: quien lo robe es dueño del nodo. Uno menor se\npuede crear después; este programa mostrará el comando.",
	}
)

// These are the answers of init.
var (
	wordYes = phrase{"yes", "sí"}
	wordNo  = phrase{"no", "no"}

	needFile      = phrase{"name a file", "nombra un archivo"}
	needDirectory = phrase{"name a directory", "nombra un directorio"}
	needRuns      = phrase{"%q is none of node, mostro, relay, index, escrow", "%q no es node, mostro, relay, index ni escrow"}
	needHostPort  = phrase{"%q is not host:port", "%q no es host:puerto"}
	needURL       = phrase{"the address begins with wss:// or ws://", "la dirección empieza con wss:// o ws://"}
	needRelays    = phrase{"a Mostro without a relay of its own needs a relay elsewhere", "un Mostro sin relay propio necesita un relay en otra parte"}
	needTruth     = phrase{"answer %s or %s", "responde %s o %s"}
	fileExists    = phrase{"%s exists, and init changes no file: move it away, or name another file with --config", "%s existe, e init no cambia ningún archivo: muévelo, o nombra otro con --config"}
	badKeyFile    = phrase{"the file of the key exists and cannot be used: %w", "el archivo de la clave existe y no se puede usar: %w"}

	textEnded      = phrase{"the answers ended, and nothing was written", "las respuestas terminaron y no se escribió nada"}
	textTooOften   = phrase{"five answers were wrong, and nothing was written", "cinco respuestas fueron incorrectas y no se escribió nada"}
	textKeyFound   = phrase{"\n%s exists: this key is used (%s).", "\n%s existe: se usa esta clave (%s)."}
	textWritten    = phrase{"\nWritten: %s", "\nEscrito: %s"}
	textKeyWritten = phrase{"The key of the Mostro: %s (mode 0600). Keep a copy of it offline.\nThe Mostro's name for clients: %s", "La clave del Mostro: %s (modo 0600). Guarda una copia fuera de línea.\nEl nombre del Mostro para clientes: %s"}
	textBake       = phrase{"\n%s does not exist yet. Make it on the machine of LND:\n  %s", "\n%s no existe todavía. Créalo en la máquina de LND:\n  %s"}
	textAdvice     = phrase{"\nThis is left to do, or to know:", "\nQueda por hacer o por saber:"}
	textNext       = phrase{"\nNext:\n  mostrodex doctor -c %s\n  mostrodex serve -c %s", "\nSigue:\n  mostrodex doctor -c %s\n  mostrodex serve -c %s"}
)

// render returns the configuration.
func (w *wizard) render() []byte {
	t := template.Must(template.New("").Funcs(template.FuncMap{"q": quoted, "list": quotedList}).Parse(w.say(configText)))
	role := ""
	if w.runs != runsNode && w.runs != runsMostro {
		role = w.runs
	}
	var b strings.Builder
	if err := t.Execute(&b, map[string]any{
		"Role": role, "Escrow": w.escrow(), "Data": w.data, "Listen": w.listen, "Private": w.private, "URL": w.url, "Proxied": w.url != "" && w.proxy,
		"Publish": w.publish, "Name": w.name, "Key": w.keyFile(), "LND": w.lnd, "Relay": w.runs != roleEscrow,
	}); err != nil {
		panic(err) // impossible: the template and its values are constant in form
	}
	return []byte(b.String())
}

// configText is the configuration that init writes. Each value passes q or list, which quote.
var configText = phrase{`# Configuration of Mostrodex, written by "mostrodex init".
#
#   check:  mostrodex config check FILE      and  mostrodex doctor -c FILE
#   start:  mostrodex serve -c FILE
#
# The file deploy/mostrodex.example.toml has every key with its default. An unknown key is an
# error. After a change: kill -HUP reloads what docs/running.md names; a restart reloads all.

{{if .Role}}# Only one part runs: "relay", "index" or "escrow". Without this line the sections decide.
role = {{q .Role}}

{{end}}# Everything that is kept. The parts DATA/escrow and DATA/keys belong to every backup.
data = {{q .Data}}

[relay]
# host:port of the relay, the API and the explorer.
listen = {{q .Listen}}

{{if .Private}}# host:port of /metrics and of the dispute inbox. Never expose it.
private = {{q .Private}}

{{end}}{{if and .Name .Relay}}# Name of the relay.
name = {{q .Name}}

{{end}}{{if .URL}}# Public address. The mobile app accepts only wss://, port 443, a domain name and no path.
url = {{q .URL}}

{{else if .Relay}}# Public address. While it is not set, no other machine finds this program.
# url = "wss://relay.example.com"

{{end}}{{if .Proxied}}# The proxy on this machine names the client in X-Forwarded-For. Without this line all visitors
# would count as programs on this machine, without limits.
trusted_proxies = ["127.0.0.1", "::1"]

{{end}}# Free space on the disk of data, in MiB, below which no event is taken and no trade begins.
# disk_reserve_mib = 512

{{if not .Escrow}}{{if .Publish}}[relay.federation]
# Relays that own events (scores, statistics) are sent to.
forward = {{list .Publish}}
{{end}}{{else}}[escrow]
# This program is a Mostro.
enabled = true

# The secret key of the Mostro, mode 0600. Whoever has it is this Mostro. Keep a copy offline.
key = {{q .Key}}

{{if .Name}}# Name and description for clients.
name = {{q .Name}}
{{else}}# Name and description for clients.
# name = "My Mostro"
{{end}}# about = "A Mostro for Caracas"

# Fee of both sides together: "0.006" is 0.3 % of each side.
fee = "0.006"

# Smallest and largest order, in sats. Begin small: the largest order needs as much inbound and
# outbound liquidity in the channels.
min_sats = 1000
max_sats = 100000

# Currencies that are taken. Not set: all.
# currencies = ["VES", "EUR"]

# Rule for a dispute that no solver decides in time: "cancel" returns the sats to the seller,
# "settle" pays the buyer.
overdue = "cancel"

[escrow.lnd]
# LND's gRPC listener, its certificate, and a macaroon with the few permissions of an escrow.
# docs/lightning.md has the command that bakes one. Never use admin.macaroon.
address = {{q .LND.Address}}
cert = {{q .LND.Cert}}
macaroon = {{q .LND.Macaroon}}

[escrow.publish]
# Relays that this Mostro's events are sent to. Clients find orders on relays that they know.
relays = {{list .Publish}}
{{end}}`,
	`# Configuración de Mostrodex, escrita por "mostrodex init".
#
#   revisar:   mostrodex config check ARCHIVO   y  mostrodex doctor -c ARCHIVO
#   arrancar:  mostrodex serve -c ARCHIVO
#
# El archivo deploy/mostrodex.example.toml tiene todas las claves con sus valores por defecto. Una
# clave desconocida es un error. Tras un cambio: kill -HUP recarga lo que nombra docs/running.md;
# un reinicio recarga todo.

{{if .Role}}# Corre una sola parte: "relay", "index" o "escrow". Sin esta línea deciden las secciones.
role = {{q .Role}}

{{end}}# Todo lo que se guarda. DATA/escrow y DATA/keys pertenecen a toda copia de seguridad.
data = {{q .Data}}

[relay]
# host:puerto del relay, la API y el explorador.
listen = {{q .Listen}}

{{if .Private}}# host:puerto de /metrics y de la bandeja de disputas. Nunca lo expongas.
private = {{q .Private}}

{{end}}{{if and .Name .Relay}}# Nombre del relay.
name = {{q .Name}}

{{end}}{{if .URL}}# Dirección pública. La app móvil acepta solo wss://, puerto 443, un dominio y ninguna ruta.
url = {{q .URL}}

{{else if .Relay}}# Dirección pública. Mientras falte, ninguna otra máquina encuentra este programa.
# url = "wss://relay.example.com"

{{end}}{{if .Proxied}}# El proxy en esta máquina nombra al cliente en X-Forwarded-For. Sin esta línea todos los
# visitantes contarían como programas de esta máquina, sin límites.
trusted_proxies = ["127.0.0.1", "::1"]

{{end}}# Espacio libre en el disco de data, en MiB, bajo el cual no se acepta ningún evento y no empieza
# ninguna operación.
# disk_reserve_mib = 512

{{if not .Escrow}}{{if .Publish}}[relay.federation]
# Relays a los que se envían los eventos propios (reputación, estadísticas).
forward = {{list .Publish}}
{{end}}{{else}}[escrow]
# Este programa es un Mostro.
enabled = true

# La clave secreta del Mostro, modo 0600. Quien la tiene es este Mostro. Guarda una copia fuera de
# línea.
key = {{q .Key}}

{{if .Name}}# Nombre y descripción para los clientes.
name = {{q .Name}}
{{else}}# Nombre y descripción para los clientes.
# name = "Mi Mostro"
{{end}}# about = "Un Mostro para Caracas"

# Comisión de ambas partes juntas: "0.006" es 0,3 % de cada parte.
fee = "0.006"

# Orden menor y mayor, en sats. Empieza con poco: la orden mayor necesita otro tanto de liquidez
# entrante y saliente en los canales.
min_sats = 1000
max_sats = 100000

# Monedas que se aceptan. Sin valor: todas.
# currencies = ["VES", "EUR"]

# Regla para una disputa que nadie resuelve a tiempo: "cancel" devuelve los sats al vendedor,
# "settle" paga al comprador.
overdue = "cancel"

[escrow.lnd]
# El gRPC de LND, su certificado y un macaroon con los pocos permisos de un escrow.
# docs/lightning.md tiene el comando que lo crea. Nunca uses admin.macaroon.
address = {{q .LND.Address}}
cert = {{q .LND.Cert}}
macaroon = {{q .LND.Macaroon}}

[escrow.publish]
# Relays a los que se envían los eventos de este Mostro. Los clientes encuentran órdenes en los
# relays que conocen.
relays = {{list .Publish}}
{{end}}`,
}
