package runtime

// An UpsertStatus is what [UpsertFlow] did to a flow.
type UpsertStatus string

// What UpsertFlow may have done.
const (
	// UpsertCompiled says that the flow was not there and is now.
	UpsertCompiled UpsertStatus = "compiled"
	// UpsertVerified says that the flow was there as it should be.
	UpsertVerified UpsertStatus = "verified"
	// UpsertOptionsUpdated says that attempts, delays, timeouts or the schedule were changed.
	UpsertOptionsUpdated UpsertStatus = "options_updated"
	// UpsertRecompiled says that the flow had another shape: it was deleted with
	// all its runs, and is there anew.
	UpsertRecompiled UpsertStatus = "recompiled"
	// UpsertMismatch says that the flow has another shape and was left as it is.
	UpsertMismatch UpsertStatus = "mismatch"
)

// UpsertResult reports what [UpsertFlow] did.
type UpsertResult struct {
	Status UpsertStatus `json:"status"`
	// Differences are those of the given shape, called first, and the one that
	// was stored, for [UpsertRecompiled] and [UpsertMismatch].
	Differences []string `json:"differences"`
	// DeletedRuns is how many runs were deleted by [UpsertRecompiled].
	DeletedRuns int `json:"deleted_runs"`
}

// Deleted reports what [DeleteFlow] removed.
type Deleted struct {
	// Existed reports whether there was anything to delete.
	Existed bool `json:"existed"`
	// Runs is how many runs went with the flow, Steps how many steps it had.
	Runs  int `json:"runs"`
	Steps int `json:"steps"`
}
