package dashboard

import (
	"testing"

	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
)

func TestMain(m *testing.M) {
	queryTime = patience
	dbtest.Main(m)
}
