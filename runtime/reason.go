package runtime

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/flowc-dev/flowc/runtime/internal/words"
)

// A ReasonKind is the kind of a [Reason].
type ReasonKind string

// The kinds of reasons, as [ExplainRun] orders them.
const (
	// ReasonScheduled means that the run is scheduled to start later: Until.
	ReasonScheduled ReasonKind = "scheduled"
	// ReasonPaused means that its flow is paused: Since, By.
	ReasonPaused ReasonKind = "paused"
	// ReasonNoWorker means that no worker serves its flow. Message names the other versions
	// of the flow that are served, if any.
	ReasonNoWorker ReasonKind = "no_worker"
	// ReasonSilent means that the worker that has tasks of a step is silent: Since.
	ReasonSilent ReasonKind = "silent"
	// ReasonRequested means that something was requested of the run and is not done yet:
	// Since, and in Message what, and why it could not be done.
	ReasonRequested ReasonKind = "requested"
	// ReasonWaiting means that a step waits for an answer: Since, Until, which is zero if it
	// waits for ever, and in Message its key.
	ReasonWaiting ReasonKind = "waiting"
	// ReasonAnswered means that a step has an answer that a worker has yet to deliver: Since,
	// and By, who has answered, if that is known.
	ReasonAnswered ReasonKind = "answered"
	// ReasonRetry means that tasks of a step wait for their next attempt: Until, Attempt,
	// MaxAttempts, and in Message the error of the last one.
	ReasonRetry ReasonKind = "retry"
	// ReasonDelayed means that tasks of a step wait for its start delay: Until.
	ReasonDelayed ReasonKind = "delayed"
	// ReasonSnoozed means that tasks of a step were snoozed: Until, and in Message the note.
	ReasonSnoozed ReasonKind = "snoozed"
	// ReasonSuspect means that a worker died with tasks of a step in flight, and they wait to
	// run apart from others: Attempt is how often it died with nothing else.
	ReasonSuspect ReasonKind = "suspect"
	// ReasonTurn means that tasks of a step wait for their turn, since their gate has no room,
	// or, without a step, that the run does, since as many runs of its flow are in progress as
	// may be: Since, Until if that is known, and in Message the limits and the key.
	ReasonTurn ReasonKind = "turn"
	// ReasonQueued means that tasks of a step wait for a worker with free capacity: Since.
	ReasonQueued ReasonKind = "queued"
	// ReasonRunning means that workers are running tasks of a step: Since, Worker.
	ReasonRunning ReasonKind = "running"
	// ReasonOutbox means that the run has not left the outbox of another engine, see package
	// temporalflow: Message, and Attempt if handing it over failed.
	ReasonOutbox ReasonKind = "outbox"
	// ReasonStuck means that there is no task that a worker could run.
	ReasonStuck ReasonKind = "stuck"
)

// A Reason is something that a run which has not ended waits for. Fields that its kind does
// not use are zero.
type Reason struct {
	Kind ReasonKind `json:"kind"`
	Flow string     `json:"flow"`
	// Step is the step whose tasks wait, and Index the element of the first of them if
	// it is a map. Tasks counts them, up to a thousand.
	Step  string `json:"step,omitempty"`
	Index *int   `json:"index,omitempty"`
	Tasks int    `json:"tasks,omitempty"`
	// Attempt is how many attempts failed, of MaxAttempts, or how often a worker died.
	Attempt     int `json:"attempt,omitempty"`
	MaxAttempts int `json:"max_attempts,omitempty"`
	// Worker is the name and the end of the id of a worker.
	Worker string    `json:"worker,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	Until  time.Time `json:"until,omitzero"`
	// By is who paused the flow, or answered the step.
	By      string `json:"by,omitempty"`
	Message string `json:"message,omitempty"`
	// At is when the reason was read, by the database's clock.
	At time.Time `json:"at"`
}

// String returns the reason in words: "no worker serves import_v2", "paused 3 minutes ago by ann",
// "scheduled for 14:30 (in 2 hours)", "charge retries in 40 s: 503 from the bank".
func (r Reason) String() string {
	what := words.Element(r.Step, r.Index)
	if r.Tasks > 1 {
		what += fmt.Sprintf(" and %d more", r.Tasks-1)
	}
	do := func(one, many string) string {
		if r.Tasks > 1 {
			return what + " " + many
		}
		return what + " " + one
	}
	switch r.Kind {
	case ReasonScheduled:
		return "scheduled for " + r.moment(r.Until) + " (" + r.in(r.Until) + ")"
	case ReasonPaused:
		text := "paused " + span(r.At.Sub(r.Since)) + " ago"
		if r.By != "" {
			text += " by " + r.By
		}
		return text
	case ReasonNoWorker:
		text := "no worker serves " + r.Flow
		if r.Message != "" {
			text += ", only " + r.Message
		}
		return text
	case ReasonSilent:
		return fmt.Sprintf("%s with worker %s, last seen %s ago", do("is", "are"), r.Worker, span(r.At.Sub(r.Since)))
	case ReasonRetry:
		line, _, _ := strings.Cut(strings.TrimSpace(r.Message), "\n")
		return fmt.Sprintf("%s %s: %s (%d of %d attempts failed)", do("retries", "retry"), r.in(r.Until), line, r.Attempt, r.MaxAttempts)
	case ReasonDelayed:
		return do("waits", "wait") + " for the start delay, " + r.moment(r.Until) + " (" + r.in(r.Until) + ")"
	case ReasonRequested:
		return fmt.Sprintf("requested %s ago, not done yet: %s", span(r.At.Sub(r.Since)), r.Message)
	case ReasonWaiting:
		text := "waiting for " + r.Step + " since " + r.moment(r.Since)
		if r.Message != "" {
			text += fmt.Sprintf(", key %q", r.Message)
		}
		if !r.Until.IsZero() {
			text += ", until " + r.moment(r.Until) + " (" + r.in(r.Until) + ")"
		}
		return text
	case ReasonAnswered:
		text := r.Step + " was answered " + span(r.At.Sub(r.Since)) + " ago"
		if r.By != "" {
			text += " by " + r.By
		}
		return text + ", a worker has yet to take the answer"
	case ReasonSnoozed:
		text := do("was snoozed", "were snoozed") + " until " + r.moment(r.Until) + " (" + r.in(r.Until) + ")"
		if r.Message != "" {
			text += ": " + r.Message
		}
		return text
	case ReasonSuspect:
		text := do("waits", "wait") + " to run apart from others: a worker died with " + map[bool]string{true: "them", false: "it"}[r.Tasks > 1] + " in flight"
		switch {
		case r.Attempt == 1:
			text += ", once with nothing else"
		case r.Attempt > 1:
			text += fmt.Sprintf(", %d times with nothing else", r.Attempt)
		}
		return text
	case ReasonTurn:
		if r.Step == "" {
			return "waits for its turn, for " + span(r.At.Sub(r.Since)) + ": " + r.Message
		}
		text := do("waits for its turn", "wait for their turn") + ", for " + span(r.At.Sub(r.Since)) + ": " + r.Message
		if !r.Until.IsZero() {
			text += ", until " + r.moment(r.Until) + " (" + r.in(r.Until) + ")"
		}
		return text
	case ReasonQueued:
		return do("waits", "wait") + " for a free worker, for " + span(r.At.Sub(r.Since))
	case ReasonRunning:
		return do("runs", "run") + ", for " + span(r.At.Sub(r.Since)) + ", on " + r.Worker
	case ReasonOutbox:
		line, _, _ := strings.Cut(strings.TrimSpace(r.Message), "\n")
		return "in the outbox; " + line
	case ReasonStuck:
		return "nothing of it is queued: `flowc doctor` says more"
	}
	return string(r.Kind)
}

// MarshalJSON encodes the reason together with its [Reason.String], as text.
func (r Reason) MarshalJSON() ([]byte, error) {
	type plain Reason
	return json.Marshal(struct {
		plain
		Text string `json:"text"`
	}{plain(r), r.String()})
}

// moment formats a time of day, with the date if it is another day.
func (r Reason) moment(t time.Time) string {
	local, now := t.Local(), r.At.Local()
	if local.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return local.Format("15:04")
	}
	return local.Format("2006-01-02 15:04")
}

// in formats the time left until t.
func (r Reason) in(t time.Time) string {
	if d := t.Sub(r.At); d >= time.Second/2 {
		return "in " + span(d)
	}
	return "now"
}

// span formats a duration in one unit.
func span(d time.Duration) string {
	d = max(d.Round(time.Second), 0)
	for _, unit := range []struct {
		length    time.Duration
		one, many string
	}{{24 * time.Hour, "day", "days"}, {time.Hour, "hour", "hours"}, {time.Minute, "minute", "minutes"}} {
		if d < unit.length {
			continue
		}
		if n := int(d / unit.length); n > 1 {
			return fmt.Sprintf("%d %s", n, unit.many)
		}
		return "1 " + unit.one
	}
	return fmt.Sprintf("%d s", d/time.Second)
}
