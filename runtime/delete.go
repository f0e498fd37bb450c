package runtime

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
)

const (
	deleteSQL = `SELECT flowc.delete_flow($1, $2)`
	existsSQL = `SELECT flowc.flow_exists($1)`
)

// Deleted reports what [DeleteFlow] removed.
type Deleted struct {
	// Existed reports whether there was anything to delete.
	Existed bool `json:"existed"`
	// Runs is how many runs went with the flow, Steps how many steps it had.
	Runs  int `json:"runs"`
	Steps int `json:"steps"`
}

// A DeleteOption configures [DeleteFlow] and [DeleteRun]; the only one is
// [AllowDataLoss].
type DeleteOption = UpsertOption

// DeleteFlow removes a flow with all its runs. While some have not ended (scheduled
// ones included), it is left as it is, unless [AllowDataLoss] is given. Deleting
// a flow that does not exist is no error.
//
// Errors: [ErrInvalidSlug]; an [ActiveRunsError] if there are runs that have not ended,
// without [AllowDataLoss]. Nothing is removed then.
func DeleteFlow(ctx context.Context, db DB, slug string, opts ...DeleteOption) (Deleted, error) {
	if err := checkFlowSlug(slug); err != nil {
		return Deleted{}, err
	}
	o, err := upsertOptionsOf(opts)
	if err != nil {
		return Deleted{}, err
	}
	var answer struct {
		Deleted
		Active int `json:"active"`
	}
	row, _, err := collectOne(ctx, db, pgx.RowTo[[]byte], deleteSQL, slug, o.allowDataLoss)
	if err == nil {
		err = json.Unmarshal(row, &answer)
	}
	switch {
	case err != nil:
		return Deleted{}, fmt.Errorf("flowc: deleting flow %s: %w", slug, err)
	case answer.Active > 0:
		return Deleted{}, &ActiveRunsError{Flow: slug, Active: answer.Active}
	}
	return answer.Deleted, nil
}

// FlowExists reports whether the database has a flow. Upper and lower case
// differ. A slug that no flow can have is an [ErrInvalidSlug].
func FlowExists(ctx context.Context, db DB, slug string) (bool, error) {
	if err := checkFlowSlug(slug); err != nil {
		return false, err
	}
	exists, _, err := collectOne(ctx, db, pgx.RowTo[bool], existsSQL, slug)
	if err != nil {
		return false, fmt.Errorf("flowc: looking for flow %s: %w", slug, err)
	}
	return exists, nil
}
