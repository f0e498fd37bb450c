package shards

// For tests.
var Rendezvous = rendezvous
