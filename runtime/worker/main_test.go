package worker_test

import (
	"testing"

	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
)

func TestMain(m *testing.M) { dbtest.Main(m) }
