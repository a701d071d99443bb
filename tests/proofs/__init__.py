"""The promises of the decision, kept or not: `make proofs` runs them and writes the tables."""
