package dashboard_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/flowc-dev/flowc/runtime/dashboard"
	"github.com/flowc-dev/flowc/runtime/internal/dbtest"
)

// A program mounts the dashboard among its own pages, and says who may do what.
func ExampleNew() {
	pool := dbtest.ForExamples()
	d, err := dashboard.New(pool, dashboard.Config{
		Prefix: "/admin/flowc",
		Authorize: func(r *http.Request, action dashboard.Action) error {
			_, password, _ := r.BasicAuth()
			switch {
			case password == "admin":
				return nil
			case password == "guest" && action == dashboard.ActionView:
				return nil
			}
			return errors.New("ask the shop for an account")
		},
		Redact: func(flow, step string, payload json.RawMessage) json.RawMessage {
			return json.RawMessage(`"hidden"`)
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/admin/flowc/", d)
	server := httptest.NewServer(mux)
	defer server.Close()
	defer d.Close()

	for _, password := range []string{"", "guest"} {
		request, _ := http.NewRequest(http.MethodGet, server.URL+"/admin/flowc/runs", nil)
		request.SetBasicAuth("me", password)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			fmt.Println(err)
			return
		}
		response.Body.Close()
		fmt.Println(response.Status)
	}
	// Output:
	// 403 Forbidden
	// 200 OK
}
