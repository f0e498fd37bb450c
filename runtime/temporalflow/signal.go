package temporalflow

import (
	"context"
	"fmt"
	"time"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/ops"
)

var (
	_ runtime.Signaller = backend{}
	_ ops.WaitLister    = backend{}
)

// errNoWaits says that no run has a step that waits: such flows are refused by Upsert.
var errNoWaits = fmt.Errorf("%w: on Temporal, steps cannot wait for answers: start a flow when the answer comes", runtime.ErrNeedsEngine)

func (backend) Signal(context.Context, runtime.SignalRequest) (runtime.Signalled, error) {
	return "", errNoWaits
}

func (backend) SignalBy(context.Context, runtime.KeyedSignal) (bool, error) { return false, errNoWaits }

func (backend) ListWaiting(context.Context, runtime.WaitingFilter) ([]runtime.Waiting[handler.Values], error) {
	return nil, errNoWaits
}

func (backend) CountWaits(context.Context) ([]ops.WaitCount, error) { return nil, errNoWaits }

func (backend) ListRequests(context.Context, time.Time, int) ([]ops.Request, error) {
	return refuse[[]ops.Request]("ListRequests")
}
