package worker_test

import (
	"testing"

	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
)

func TestMain(m *testing.M) {
	dbtest.AtOnce(4) // they wait most of the time
	dbtest.Main(m)
}
