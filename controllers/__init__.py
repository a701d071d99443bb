"""The operator: one package per kind, all of one shape.

handlers (the only file that knows kopf) → observe → plan (pure) → act, manifests (pure).
"""
