// Package hosts bounds how long a server may take to answer who connects to it. A
// server that is frozen, or gone without a word, would keep an address that names
// several from its next one.
package hosts

import (
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// perHost is how long each of several hosts may take: another may do better.
	perHost = 2 * time.Second
	// only is how long the only one may take.
	only = 5 * time.Second
)

// Bound bounds the time of each host, unless the address has a connect_timeout.
func Bound(config *pgx.ConnConfig) {
	if config.ConnectTimeout > 0 {
		return
	}
	config.ConnectTimeout = only
	for _, next := range config.Fallbacks { // which may be the same host, without TLS
		if next.Host != config.Host || next.Port != config.Port {
			config.ConnectTimeout = perHost
		}
	}
}

// All returns how long connecting may take, with all hosts.
func All(config *pgx.ConnConfig) time.Duration {
	const lookUp = 5 * time.Second // of names
	return lookUp + time.Duration(1+len(config.Fallbacks))*config.ConnectTimeout
}
