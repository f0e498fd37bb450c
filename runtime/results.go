package runtime

// An UpsertStatus is what [UpsertFlow] did to a flow.
type UpsertStatus string

// The statuses of an upsert.
const (
	// UpsertCompiled says that the flow was added.
	UpsertCompiled UpsertStatus = "compiled"
	// UpsertVerified says that the flow was already up to date.
	UpsertVerified UpsertStatus = "verified"
	// UpsertOptionsUpdated says that attempts, delays, timeouts or the schedule were updated.
	UpsertOptionsUpdated UpsertStatus = "options_updated"
	// UpsertRecompiled says that the flow had another shape: it was deleted with all its
	// runs, and added again.
	UpsertRecompiled UpsertStatus = "recompiled"
	// UpsertMismatch says that the flow has another shape and was left as it is.
	UpsertMismatch UpsertStatus = "mismatch"
)

// UpsertResult reports what [UpsertFlow] did.
type UpsertResult struct {
	Status UpsertStatus `json:"status"`
	// Differences lists how the given shape, called first, differs from the one that was
	// stored, for [UpsertRecompiled] and [UpsertMismatch].
	Differences []string `json:"differences"`
	// DeletedRuns is how many runs [UpsertRecompiled] deleted.
	DeletedRuns int `json:"deleted_runs"`
}

// Deleted reports what [DeleteFlow] removed.
type Deleted struct {
	// Existed reports whether there was anything to delete.
	Existed bool `json:"existed"`
	// Runs is how many runs were deleted with the flow, Steps how many steps it had.
	Runs  int `json:"runs"`
	Steps int `json:"steps"`
}
