package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/flowc-dev/flowc/runtime/devdb"
)

// TestTenants runs the example, and once more after a tenant has changed its mind.
func TestTenants(t *testing.T) {
	pool, closeDB, err := devdb.Open(t.Context(), devdb.Config{})
	require.NoError(t, err)
	defer closeDB()
	var tenants []tenant
	require.NoError(t, json.Unmarshal(tenantsJSON, &tenants))

	var out strings.Builder
	require.NoError(t, run(t.Context(), &out, pool, tenants))
	require.Equal(t, `forms_bakery: {"answer": {"answer": "to ann@example.com: your lemon cake is in the oven"}}
forms_bakery: check: cake is missing
forms_joiner: {"offer": {"offer": "Cleo, that makes 420 €"}}
forms_joiner: {"offer": {"offer": "Dan, that makes 2150 €"}, "visit": {"visit": "visit Dan and measure"}}
`, out.String())

	tenants[0].Steps[2].After = []string{"clean"}
	tenants[0].Steps[2].Text = "to {{.email}}"
	tenants[0].Forms = tenants[0].Forms[:1]
	tenants[1].Forms = nil
	for range 2 { // the second time, the version is there
		out.Reset()
		require.NoError(t, run(t.Context(), &out, pool, tenants))
		require.Equal(t, `forms_bakery_v2: {"answer": {"answer": "to ann@example.com"}}`+"\n", out.String())
	}

	tenants[0].Steps[2].Action = "bake"
	require.ErrorContains(t, run(t.Context(), &out, pool, tenants), `tenant bakery: step answer: there is no action "bake"`)
	tenants[0].Steps[2] = step{Name: "answer", Action: "lower", After: []string{"nobody"}}
	require.ErrorContains(t, run(t.Context(), &out, pool, tenants), `it waits for "nobody", which is no step of this flow`)
}
