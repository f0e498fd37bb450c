package temporaldev

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
)

// A listener is where a service of a server listens.
type listener struct {
	GRPC       int  `json:"grpcPort"`
	Membership int  `json:"membershipPort"`
	HTTP       int  `json:"httpPort,omitempty"`
	Loopback   bool `json:"bindOnLocalHost"`
}

// services are those of a server, by name.
type services map[string]struct {
	RPC listener `json:"rpc"`
}

// freePorts returns ports that nobody listens on. They are below 32768: the server's schema
// has no room for others, and systems do not give these to whoever asks for any port.
func freePorts(n int) ([]int, error) {
	var ports []int
	taken := map[int]bool{}
	for range 100 * n {
		port := 20_000 + rand.IntN(12_000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil || taken[port] {
			continue
		}
		l.Close()
		taken[port] = true
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, fmt.Errorf("there are no %d free ports between 20000 and 32000", n)
}

// newServices returns services on ports that are free.
func newServices() (services, error) {
	names := []string{"frontend", "history", "matching", "worker"}
	ports, err := freePorts(2*len(names) + 1)
	if err != nil {
		return nil, err
	}
	all := services{}
	for i, name := range names {
		s := all[name]
		s.RPC = listener{GRPC: ports[2*i], Membership: ports[2*i+1], Loopback: true}
		if name == "frontend" {
			s.RPC.HTTP = ports[2*len(names)]
		}
		all[name] = s
	}
	return all, nil
}

func (s services) address() string { return fmt.Sprintf("127.0.0.1:%d", s["frontend"].RPC.GRPC) }
func (s services) http() string    { return fmt.Sprintf("127.0.0.1:%d", s["frontend"].RPC.HTTP) }

// object is a part of a configuration. JSON is YAML, so that nothing has to be quoted by hand.
type object = map[string]any

// configuration returns the text of a server's configuration file.
func configuration(s services, db *Database, dynamic string) ([]byte, error) {
	stores, shards := inMemory(), 1
	if db != nil {
		stores, shards = db.stores(), 16
	}
	off := object{"state": "disabled", "enableRead": false}
	all := object{
		"log": object{"stdout": true, "level": "warn"},
		"persistence": object{
			"defaultStore": "default", "visibilityStore": "visibility", "numHistoryShards": shards, "datastores": stores,
		},
		"global":   object{"membership": object{"maxJoinDuration": "30s", "broadcastAddress": "127.0.0.1"}},
		"services": s,
		"clusterMetadata": object{
			"enableGlobalNamespace": false, "failoverVersionIncrement": 10, "masterClusterName": "active", "currentClusterName": "active",
			"clusterInformation": object{"active": object{
				"enabled": true, "initialFailoverVersion": 1, "rpcName": "frontend", "rpcAddress": s.address(), "httpAddress": s.http(),
			}},
		},
		"dcRedirectionPolicy": object{"policy": "noop"},
		"publicClient":        object{"hostPort": s.address()},
		"archival":            object{"history": off, "visibility": off},
		"namespaceDefaults":   object{"archival": object{"history": object{"state": "disabled"}, "visibility": object{"state": "disabled"}}},
		"dynamicConfigClient": object{"filepath": dynamic, "pollInterval": "1m"},
	}
	return indented(all)
}

// dynamicConfiguration returns the text of the file with the settings that a server reads
// again and again.
func dynamicConfiguration(db *Database) ([]byte, error) {
	value := func(v any) []object { return []object{{"value": v}} }
	all := object{
		// A task queue in one part: with few tasks, polls would wait at those that have none.
		"matching.numTaskqueueReadPartitions":  value(1),
		"matching.numTaskqueueWritePartitions": value(1),
		// Tests make namespaces and use them at once.
		"system.namespaceCacheRefreshInterval": value("500ms"),
	}
	if db == nil { // where it costs nothing
		// An execution that has just ended can be deleted when this has passed.
		all["history.transferProcessorUpdateAckInterval"] = value("1s")
		all["history.visibilityProcessorUpdateAckInterval"] = value("1s")
	}
	return indented(all)
}

func indented(v any) ([]byte, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	return append(bytes.TrimSpace(text), '\n'), err
}

// inMemory returns stores that end with the server.
func inMemory() object {
	store := object{"sql": object{
		"pluginName": "sqlite", "databaseName": "default", "connectAddr": "localhost", "connectProtocol": "tcp",
		"connectAttributes": object{"mode": "memory", "cache": "private"},
		"maxConns":          1, "maxIdleConns": 1, "maxConnLifetime": "1h",
	}}
	return object{"default": store, "visibility": store}
}
