"""The tests of the ledger on every PostgreSQL that it supports: `make test-matrix`."""
