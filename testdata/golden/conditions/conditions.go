// Package conditions declares flows whose conditions look far into what they see.
package conditions

import "github.com/flowc-dev/flowc/dsl"

// Decide takes a pointer, and looks at fields behind pointers, in embedded
// structs, and under every kind of JSON name.
type Decide struct {
	dsl.Flow[*Request, *Decision]

	Near    dsl.Step[*Request, bool]     `if:"Input.Plan == 'it''s <pro>' && Input.Seats == -3 && Input.Rate == 1.50" if_not:"Input.Urgent"`
	Far     dsl.Step[*Request, Decision] `if:"Input.Owner.Address.City == 'Köln' && Input.Owner.Trusted == false" when_unmet:"skip-cascade"`
	Quoted  dsl.Step[*Request, *Answer]  `if:"Input.Owner.Age == 18 && Input.Owner.Member == true"`
	Both    dsl.Step[Seen, dsl.None]     `if:"Near && Quoted.Yes && Quoted.Deep.Sure == true" if_not:"Far.Score == 0.25"`
	Promote dsl.Step[dsl.None, Answer]   `after:"Quoted" if:"Quoted.Sure == false && Quoted.Note == ''"`
}

type Seen struct {
	Near   *bool
	Far    Decision
	Quoted *Answer
}

type Plan string

type Request struct {
	Plan   Plan     `json:"plan"`
	Seats  int8     `json:"seats"`
	Rate   *float32 `json:"rate,omitempty"`
	Urgent *bool    `json:"URGENT"`
	Owner  *owner
}

type owner struct {
	Address *struct {
		City string `json:"the city"`
	} `json:"address"`
	Trusted bool   `json:"trusted,string"`
	Age     uint16 `json:",string"`
	member
}

type member struct{ Member bool }

type Decision struct{ Score float64 }

type Answer struct {
	Yes bool
	*Deep
}

type Deep struct {
	Sure bool
	Note string `json:"note"`
}
