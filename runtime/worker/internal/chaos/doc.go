// Package chaos tests clients, engine and workers together while things break:
// workers are killed, stopped and frozen, the server is restarted and killed, the
// network is cut, slow or half-open. There is nothing in it but tests.
//
// Workers are real processes, which the test binary starts from itself, on a real
// server of the test's own. After each test the database is audited: nothing that
// was started is lost, nothing was completed twice, nothing began too early.
//
// Without more, the tests take about two minutes together. With FLOWC_CHAOS=1 they
// take their full length, about ten. Each prints the seed of its chances;
// FLOWC_CHAOS_SEED repeats one.
package chaos
