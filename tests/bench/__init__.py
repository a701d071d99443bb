"""`make bench-ledger`: how fast the ledger is, beside two yardsticks, in one interleaved run.

`prototype.py` is a group-commit server with nothing around it: what the write path could be.
`baseline.sql` is a transfer a call, a call a commit: what a ledger is without group commit.
`load.py` has the clients, the same for all; `stub.py` a cluster that knows one token, so that
tokens are really checked; `cases.py` what is measured; `targets.py` what is asked;
`page.py` how it is shown.
"""
