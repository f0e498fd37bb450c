package runtime

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
)

const (
	deleteSQL = `SELECT flowc.delete_flow($1)`
	existsSQL = `SELECT flowc.flow_exists($1)`
)

// Deleted says what [DeleteFlow] removed.
type Deleted struct {
	// Existed reports whether there was anything to delete.
	Existed bool `json:"existed"`
	// Runs is how many runs went with the flow, Steps how many steps it had.
	Runs  int `json:"runs"`
	Steps int `json:"steps"`
}

// DeleteFlow removes a flow with all its runs, those that are not finished
// included. A flow that is not there is no error.
func DeleteFlow(ctx context.Context, db DB, slug string) (Deleted, error) {
	var deleted Deleted
	if err := checkFlowSlug(slug); err != nil {
		return deleted, err
	}
	row, _, err := collectOne(ctx, db, pgx.RowTo[[]byte], deleteSQL, slug)
	if err == nil {
		err = json.Unmarshal(row, &deleted)
	}
	if err != nil {
		return deleted, fmt.Errorf("flowc: deleting flow %s: %w", slug, err)
	}
	return deleted, nil
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
