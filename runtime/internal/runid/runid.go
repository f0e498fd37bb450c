// Package runid derives ids of runs from what makes them unique, such as a key.
package runid

import "github.com/google/uuid"

// namespace is that of all derived ids. It must never change.
var namespace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("https://github.com/flowc-dev/flowc"))

// Derive returns the id for a name, which is always the same.
func Derive(name string) uuid.UUID { return uuid.NewSHA1(namespace, []byte(name)) }
