"""Prepaid credit ledgers and evidence-based rollouts, reconciled on Kubernetes.

Read in this order: `resources` (what a user may ask for), `ledger` and `stats` (what it means),
then `controllers` beside this source root (how the cluster is made to agree).
"""
