package temporalflow_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"

	"github.com/flowc-dev/flowc/runtime"
	"github.com/flowc-dev/flowc/runtime/handler"
	"github.com/flowc-dev/flowc/runtime/spec"
	"github.com/flowc-dev/flowc/runtime/temporalflow"
)

// Files are an external storage in a folder.
type files string

func (files) Name() string { return "files" }
func (files) Type() string { return "files" }

func (f files) Store(_ converter.StorageDriverStoreContext, payloads []*common.Payload) (claims []converter.StorageDriverClaim, _ error) {
	for _, p := range payloads {
		raw, err := proto.Marshal(p)
		if err != nil {
			return nil, err
		}
		name := uuid.NewString()
		if err := os.WriteFile(filepath.Join(string(f), name), raw, 0o600); err != nil {
			return nil, err
		}
		claims = append(claims, converter.StorageDriverClaim{ClaimData: map[string]string{"name": name}})
	}
	return claims, nil
}

func (f files) Retrieve(_ converter.StorageDriverRetrieveContext, claims []converter.StorageDriverClaim) (payloads []*common.Payload, _ error) {
	for _, c := range claims {
		raw, err := os.ReadFile(filepath.Join(string(f), c.ClaimData["name"]))
		if err != nil {
			return nil, err
		}
		p := new(common.Payload)
		if err := proto.Unmarshal(raw, p); err != nil {
			return nil, err
		}
		payloads = append(payloads, p)
	}
	return payloads, nil
}

// Values may be of any length if the client has storage for them.
func TestServerExternalStorage(t *testing.T) {
	n := newNamespace(t)
	dir := t.TempDir()
	c, err := client.Dial(client.Options{
		HostPort: address(t), Namespace: n.name, Logger: temporalflow.Logger(quiet),
		ExternalStorage: converter.ExternalStorage{Drivers: []converter.StorageDriver{files(dir)}},
	})
	require.NoError(t, err)
	defer c.Close()
	db := temporalflow.New(c, n.name, temporalflow.WithExternalStorage())
	long := strings.Repeat("x", 20_000)
	service := handler.Serve(spec.Flow{Slug: "long", MaxAttempts: 1, Steps: []spec.Step{
		{Slug: "list"}, {Slug: "each", Type: spec.TypeMap, Deps: []string{"list"}}, {Slug: "join", Deps: []string{"each"}},
	}}, []handler.Handler{
		handler.Handle("list", handler.Input[string](), func(_ context.Context, in string) ([]int, error) { return make([]int, len(in)/20_000), nil }),
		handler.Handle("each", handler.Item[int](), func(context.Context, int) (string, error) { return long, nil }),
		handler.Handle("join", handler.Output[[]string]("each"), func(_ context.Context, in []string) (string, error) { return strings.Join(in, ""), nil }),
	})
	ctx := t.Context()
	require.NoError(t, runtime.UpsertServed(ctx, db, service))
	work(t, db, service)
	input := strings.Repeat("y", 4_000_000)
	run, err := runtime.StartFlow(ctx, db, "long", input)
	require.NoError(t, err)
	info := end(t, db, run)
	require.Equal(t, runtime.RunCompleted, info.Status, fmt.Sprintf("%.300s", info.Error))
	require.Equal(t, len(input)+2, len(info.Input))
	require.Equal(t, len(`{"join":""}`)+len(long)*200, len(info.Output))
	stored, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.NotEmpty(t, stored)

	_, err = runtime.StartFlow(ctx, n.db, "long", input)
	require.ErrorAs(t, err, new(*runtime.InputError), "a client without it")
}
