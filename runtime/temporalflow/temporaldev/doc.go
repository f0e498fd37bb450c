// Package temporaldev runs a Temporal server on this machine, for the tests, the demo and
// the benchmark of package temporalflow.
//
// The server is built from the module in testdata/temporal of this repository, which no
// other module requires. The first build takes minutes; the programs are kept in the user's
// cache directory. What runs is the server's own program, in one process: with its data in
// memory, or as one of several nodes on a PostgreSQL. It listens on loopback addresses
// only, and ends with the process that started it.
//
//	programs, err := temporaldev.Build(ctx, os.Stderr)
//	if err != nil {
//		return err
//	}
//	server, err := programs.Start(ctx, temporaldev.Config{})
//	if err != nil {
//		return err
//	}
//	defer server.Close()
package temporaldev
