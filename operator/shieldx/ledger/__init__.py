"""The double-entry engine: what the rules are, and how a batch of them becomes durable.

Read `operations` (what can be asked), `model` (the rules, pure), `chain` (what makes tampering
evident), then `batcher` (group commit) and `postgres` with `sql/` (one statement a batch).
Nothing here knows HTTP or Kubernetes.
"""
