// Package party declares what happens at a party.
package party

import "github.com/flowc-dev/flowc/dsl"

//go:generate go tool flowc generate

// Greet greets every guest, and then all of them.
type Greet struct {
	dsl.Flow[List, Toast] `max_attempts:"3" base_delay:"1s"`

	// Guests reads the list.
	Guests dsl.Step[List, []Guest]
	// Hello greets one guest.
	Hello dsl.Map[Guest, Greeting]
	// Toast is held when everybody has been greeted.
	Toast dsl.Step[[]Greeting, Toast]
}

type (
	List     struct{ Names string }
	Guest    struct{ Name string }
	Greeting struct{ Text string }
	Toast    struct{ Lines []string }
)
